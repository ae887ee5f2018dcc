"""Encoder windows: log-mel features of a length below 30 s, and Whisper's encoder for them.

The encoder's positions are fixed sinusoids that count from the start of the window, as the audio does. A shorter window
is therefore the start of the full one without its silence, and takes the first positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from habla_ml.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAME_SAMPLES = 160
"""Samples between two mel frames: 10 ms."""
FRAMES_PER_S = SAMPLE_RATE // FRAME_SAMPLES
FULL_FRAMES = 3000
"""Mel frames of Whisper's 30 s; the encoder has half as many positions, 1500."""


def compute_log_mel(extractor: Any, clips: Sequence[NDArray[np.float32]], n_frames: int) -> NDArray[np.float32]:
    """Compute log-mel features [clips, mels, n_frames] with the model's own `WhisperFeatureExtractor`.

    The audio is padded with silence to the window, not to 30 s.
    """
    n_samples = n_frames * FRAME_SAMPLES
    features = extractor(list(clips), sampling_rate=SAMPLE_RATE, max_length=n_samples, padding="max_length")
    mel: NDArray[np.float32] = np.asarray(features["input_features"], dtype=np.float32)
    return mel


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
