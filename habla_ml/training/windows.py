"""Encoder windows: length of the encoder's input and clips of each step.

Clips last about 3 s, so nine tenths of a 30 s window are silence. Most steps use a short window, with the encoder's
fixed sinusoidal positions cut to the same length. Every few steps use the full 30 s, as in serving. The schedule
depends only on the clips' durations, the recipe and its seed, so a resumed run has the same steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from habla_ml.audio import SAMPLE_RATE
from habla_ml.training.recipe import Recipe, Windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAME_SAMPLES = 160
"""Samples between two mel frames: 10 ms."""
FRAMES_PER_S = SAMPLE_RATE // FRAME_SAMPLES
FULL_FRAMES = 3000
"""Mel frames of Whisper's 30 s; the encoder has half as many positions, 1500."""


@dataclass(frozen=True)
class WindowedStep:
    """One optimiser step: its clips and their window in mel frames."""

    clips: tuple[int, ...]
    n_frames: int


class StepSchedule:
    """The steps of a run over clips of the given durations (s)."""

    def __init__(self, durations_s: Sequence[float], recipe: Recipe) -> None:
        self._durations_s = durations_s
        self._recipe = recipe

    @cached_property
    def max_steps(self) -> int:
        """Steps of the run: those that use each clip `epochs` times, within the recipe's bounds."""
        fewest, most = self._recipe.min_steps or 1, self._recipe.max_steps
        if self._recipe.epochs is None:
            return most or fewest
        missing, n_steps = self._recipe.epochs * len(self._durations_s), 0
        for step in islice(self.steps(), most):
            if missing <= 0 and n_steps >= fewest:
                break
            missing -= len(step.clips)
            n_steps += 1
        return n_steps

    def steps(self) -> Iterator[WindowedStep]:
        """Yield steps without end; every pass uses each clip once."""
        windows = self._recipe.windows
        order = self._iterate_clips()
        if windows is None:
            while True:
                yield WindowedStep(tuple(next(order) for _ in range(self._recipe.batch_size)), FULL_FRAMES)
        short: deque[int] = deque()
        long: deque[int] = deque()
        for step in count():
            is_full = (step + 1) % windows.full_window_every == 0
            while not is_full and len(short) < self._recipe.batch_size:
                clip = next(order)
                fits = self._durations_s[clip] <= windows.short_window_s - windows.margin_s
                (short if fits else long).append(clip)
                is_full = len(long) >= windows.full_window_batch_size
            if is_full:
                while len(long) < windows.full_window_batch_size:
                    long.append(short.popleft() if short else next(order))
                yield WindowedStep(_pop_clips(long, windows.full_window_batch_size), FULL_FRAMES)
            else:
                yield WindowedStep(_pop_clips(short, self._recipe.batch_size), self._draw_window_frames(windows, step))

    def sum_audio_s(self, steps: int) -> float:
        """Return the seconds of all clips in the first `steps` steps, including non-speech."""
        schedule = self.steps()
        return sum(self._durations_s[clip] for _ in range(steps) for clip in next(schedule).clips)

    def _iterate_clips(self) -> Iterator[int]:
        for passes in count():
            yield from np.random.default_rng((self._recipe.seed, passes)).permutation(len(self._durations_s)).tolist()

    def _draw_window_frames(self, windows: Windows, step: int) -> int:
        jitter = np.random.default_rng((self._recipe.seed, 1 << 32, step)).uniform(0, windows.jitter_s)
        return round((windows.short_window_s + jitter) * FRAMES_PER_S / 2) * 2


def _pop_clips(queue: deque[int], n_clips: int) -> tuple[int, ...]:
    return tuple(queue.popleft() for _ in range(n_clips))


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
