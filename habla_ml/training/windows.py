"""Encoder windows: lengths in mel frames, and Whisper's encoder for less than 30 s.

The encoder's positions are fixed sinusoids that count from the start of the window, as the audio does. A shorter window
is therefore the start of the full one without its silence, and takes the first positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from habla_ml.audio import SAMPLE_RATE

FRAME_SAMPLES = 160
"""Samples between two mel frames: 10 ms."""
FRAMES_PER_S = SAMPLE_RATE // FRAME_SAMPLES
FULL_FRAMES = 3000
"""Mel frames of Whisper's 30 s; the encoder has half as many positions, 1500."""


@contextmanager
def limit_encoder_window(encoder: Any, n_frames: int) -> Iterator[None]:
    """Limit a `WhisperEncoder` to `n_frames` mel frames (even, at most 3000) within the block.

    The encoder checks its input against `config.max_source_positions` and adds the first `num_embeddings` rows of its
    positions. Both numbers are lowered for the forward pass; no weight changes.
    """
    config, positions = encoder.config, encoder.embed_positions
    full = config.max_source_positions
    config.max_source_positions = positions.num_embeddings = n_frames // 2
    try:
        yield
    finally:
        config.max_source_positions = positions.num_embeddings = full
