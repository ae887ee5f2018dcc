"""The clips and the encoder window of each optimiser step.

Clips last about 3 s, so nine tenths of a 30 s window are silence. Clips of similar length share a batch whose window is as
long as its longest clip, rounded up to a few lengths. A batch is filled to a bound of encoder input and of labels. A share
of the input is at the full 30 s, as in serving. The schedule depends only on durations, labels, the recipe and its seed,
so a resumed run has the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, count, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from habla_ml.training.recipe import Recipe
from habla_ml.training.targets import MAX_DECODER_POSITIONS
from habla_ml.training.windows import FRAMES_PER_S, FULL_FRAMES

LABELS_PER_FRAME = MAX_DECODER_POSITIONS / FULL_FRAMES
"""Most labels of a batch, padded, by mel frame: a batch of 30 s windows never meets this bound. It limits the memory of
short clips with much text."""

MAX_WINDOW_RATIO = 1.5
"""Longest window of a clip in a batch, relative to the shortest: with few clips, a smaller batch wastes less."""


class ClipUse(NamedTuple):
    """One use of a clip. Whatever is random in it depends only on the seed, the clip and the pass, so a run can resume."""

    clip: int
    n_frames: int
    """Its encoder window, mel frames."""
    pass_number: int
    """The pass over the clips in which it is used, from 0."""


@dataclass(frozen=True)
class WindowedBatch:
    """Clips that share an encoder window of `n_frames` mel frames."""

    clips: tuple[int, ...]
    n_frames: int
    pass_number: int = 0

    def uses(self) -> list[ClipUse]:
        """Return the keys of the batch for a `ClipLoader`."""
        return [ClipUse(clip, self.n_frames, self.pass_number) for clip in self.clips]


class StepSchedule:
    """The steps of a run: each is `gradient_accumulation` batches, which may differ in their windows.

    Args:
        durations_s: Duration of each clip, s.
        n_labels: Number of labels of each clip.
        recipe: Sets length, size of a step, windows and seed.
        n_classroom: The first clips, which the recipe's `shuffle_h` keeps together.
    """

    def __init__(
        self, durations_s: Sequence[float], n_labels: Sequence[int], recipe: Recipe, n_classroom: int = 0
    ) -> None:
        self._n_classroom = n_classroom
        self._durations_s = np.asarray(durations_s, np.float64)
        self._n_labels = np.asarray(n_labels, np.int64)
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
            missing -= sum(len(batch.clips) for batch in step)
            n_steps += 1
        return n_steps

    def steps(self) -> Iterator[tuple[WindowedBatch, ...]]:
        """Yield steps without end; every pass uses each clip once."""
        batches = chain.from_iterable(self._plan_pass(number) for number in count())
        while True:
            yield tuple(islice(batches, self._recipe.gradient_accumulation))

    def sum_audio_s(self, steps: int) -> float:
        """Return the seconds of all clips in the first `steps` steps, including non-speech."""
        batches = chain.from_iterable(islice(self.steps(), steps))
        return sum(float(self._durations_s[list(batch.clips)].sum()) for batch in batches)

    def count_epochs(self, steps: int) -> float:
        """Return how often the first `steps` steps use each clip, on average."""
        batches = chain.from_iterable(islice(self.steps(), steps))
        return sum(len(batch.clips) for batch in batches) / len(self._durations_s)

    def sum_window_s(self, steps: int) -> float:
        """Return the seconds of encoder input, padding included, of the first `steps` steps."""
        batches = chain.from_iterable(islice(self.steps(), steps))
        return sum(len(batch.clips) * batch.n_frames for batch in batches) / FRAMES_PER_S

    def _plan_pass(self, number: int) -> list[WindowedBatch]:
        """Return the batches of one pass over the clips, in random order."""
        rng = np.random.default_rng((self._recipe.seed, number))
        n_full = self._count_full_clips(number + 1) - self._count_full_clips(number)
        blocks = (
            self._blocks if len(self._blocks) == 1 else [self._blocks[at] for at in rng.permutation(len(self._blocks))]
        )
        ends = np.cumsum([0, *map(len, blocks)]) * n_full // len(self._durations_s)
        planned = (self._plan_block(rng, *each, number) for each in zip(blocks, np.diff(ends).tolist(), strict=True))
        return list(chain.from_iterable(planned))

    @cached_property
    def _blocks(self) -> list[NDArray[np.int64]]:
        """The clips that are shuffled together; those that are not of the classroom are spread over all blocks."""
        clips = np.arange(len(self._durations_s))
        if self._recipe.shuffle_h is None or not self._n_classroom:
            return [clips]
        classroom, others = clips[: self._n_classroom], clips[self._n_classroom :]
        ends_h = np.cumsum(self._durations_s[classroom]) / 3600
        n_blocks = math.ceil(ends_h[-1] / self._recipe.shuffle_h - 1e-9)
        cuts = np.searchsorted(ends_h, np.arange(1, n_blocks) * ends_h[-1] / n_blocks + 1e-9)
        parts = [each for each in np.split(classroom, cuts) if len(each)]
        return [np.concatenate([part, others[at :: len(parts)]]) for at, part in enumerate(parts)]

    def _plan_block(
        self, rng: np.random.Generator, block: NDArray[np.int64], n_full: int, number: int
    ) -> list[WindowedBatch]:
        """Return the batches of a block in random order; `n_full` of its clips are used at the full 30 s."""
        order = block[rng.permutation(len(block))]
        full, short = order[:n_full], order[n_full:]
        speeds = self._recipe.augmentation.draw_speeds(self._recipe.seed, number, self._durations_s)
        frames = fit_windows(self._durations_s / speeds, self._recipe)
        by_window = short[np.argsort(frames[short], kind="stable")]
        most_frames = self._recipe.batch_s * FRAMES_PER_S / self._recipe.gradient_accumulation
        batches = [
            *fill_batches(full, np.full(n_full, FULL_FRAMES), self._n_labels[full], most_frames),
            *fill_batches(by_window, frames[by_window], self._n_labels[by_window], most_frames),
        ]
        return [replace(batches[each], pass_number=number) for each in rng.permutation(len(batches))]

    @cached_property
    def _window_frames(self) -> NDArray[np.int64]:
        """Shortest window of each clip at its own speed, mel frames."""
        return fit_windows(self._durations_s, self._recipe)

    def _count_full_clips(self, passes: int) -> int:
        """Return how many clips the first `passes` passes use at the full 30 s: `full_share` of the encoder's input."""
        share, mean = self._recipe.windows.full_share, float(self._window_frames.mean())
        of_clips = share * mean / (share * mean + (1 - share) * FULL_FRAMES)
        return math.floor(passes * len(self._durations_s) * of_clips + 1e-9)


def fit_windows(durations_s: NDArray[np.float64], recipe: Recipe) -> NDArray[np.int64]:
    """Return the shortest window of the recipe that holds each clip and its margin, mel frames."""
    windows = recipe.windows
    steps = np.ceil((durations_s + windows.margin_s) / windows.step_s - 1e-9)
    frames: NDArray[np.int64] = np.minimum(np.rint(steps * windows.step_s * FRAMES_PER_S), FULL_FRAMES).astype(np.int64)
    return frames


def fill_batches(
    clips: NDArray[np.int64], frames: NDArray[np.int64], n_labels: NDArray[np.int64], most_frames: float
) -> Iterator[WindowedBatch]:
    """Yield batches of successive clips, filled to `most_frames` of encoder input, padding included, and its labels.

    Args:
        clips: Clips in ascending order of their windows, [clips].
        frames: Window of each, mel frames.
        n_labels: Number of labels of each.
        most_frames: Bound of a batch with more than one clip.
    """
    most_labels = most_frames * LABELS_PER_FRAME
    first, longest = 0, 0
    for index, labels in enumerate(n_labels.tolist()):
        size, longest = index - first + 1, max(longest, labels)
        is_full = size * frames[index] > most_frames or size * longest > most_labels
        if size > 1 and (is_full or frames[index] > MAX_WINDOW_RATIO * frames[first]):
            yield WindowedBatch(tuple(clips[first:index].tolist()), int(frames[index - 1]))
            first, longest = index, labels
    if len(clips):
        yield WindowedBatch(tuple(clips[first:].tolist()), int(frames[-1]))
