"""The forms of a clip's target: without timestamps, with timestamps, and after the text of the segment before it.

Habla's WhisperX decodes without timestamps; the phone and faster-whisper's default decode with them. A model that was trained
without them writes wrong times, or wrong text, where it is served with them. So a share of the uses has timestamps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from habla_ml.training.recipe import Recipe
from habla_ml.training.schedule import ClipUse
from habla_ml.training.speech_bounds import find_speech_bounds
from habla_ml.training.targets import LAST_STEP, MAX_DECODER_POSITIONS, STEPS_PER_S, TargetEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from habla_ml.corpus.snapshot import TranscribedSegment

_TIMESTAMP_STREAM: Final = 0x70
_PREVIOUS_TEXT_STREAM: Final = 0x71
MAX_PROMPT_PIECES: Final = MAX_DECODER_POSITIONS // 2 - 1
"""Whisper keeps this many tokens of the text before."""
_UNKNOWN: Final = -1
_USUAL_OPENING: Final = 4
"""Labels without text: language, task, `<|notimestamps|>` and the end token."""


@dataclass(frozen=True)
class TargetMix:
    """Which uses of clips have timestamps, and which have the text before. It depends on seed, clip and pass only."""

    seed: int = 0
    timestamps_share: float = 0.0
    previous_text_share: float = 0.0

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """Return the mix of a recipe."""
        return cls(recipe.seed, recipe.timestamps_share, recipe.previous_text_share)

    def has_timestamps(self, use: ClipUse) -> bool:
        """Return whether this use has timestamps; with a share of 0.25 it is every fourth pass of each clip."""
        return self._is_chosen(use, self.timestamps_share, _TIMESTAMP_STREAM)

    def has_previous_text(self, use: ClipUse) -> bool:
        """Return whether this use follows the text of the segment before it."""
        return self._is_chosen(use, self.previous_text_share, _PREVIOUS_TEXT_STREAM)

    def _is_chosen(self, use: ClipUse, share: float, stream: int) -> bool:
        """Choose evenly spaced passes from a random phase, so that the forms of a clip alternate."""
        if not share:
            return False
        phase = np.random.default_rng((self.seed, stream, use.clip)).random()
        return int(phase + (use.pass_number + 1) * share) > int(phase + use.pass_number * share)


PLAIN_MIX: Final = TargetMix()


class Target(NamedTuple):
    """The labels of one use, and the text before it."""

    labels: list[int]
    prompt: list[int] = []  # noqa: RUF012 - nobody changes it
    """Text ids of the segment before; empty for none."""


@dataclass(frozen=True)
class TargetForms:
    """What the other forms of each clip's target need besides its usual labels, by index."""

    bounds: NDArray[np.int16]
    """Start and end of the speech in steps of 0.02 s, shape [clips, 2]; -1 where they are unknown, as in non-speech."""
    previous: NDArray[np.int32]
    """The clip of the segment before it in its session; -1 for none."""

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self | None:
        """Return what `to_arrays` returned; None where there is nothing."""
        return cls(arrays["bounds"], arrays["previous"]) if "bounds" in arrays else None

    def to_arrays(self) -> dict[str, Any]:
        """Return the arrays by name, to store them."""
        return {"bounds": self.bounds, "previous": self.previous}

    def count_most_labels(self, usual: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of the longest form of each clip; `usual` has the number of its usual labels."""
        timed = usual + (self.bounds[: len(usual), 0] != _UNKNOWN)
        previous = self.previous[: len(usual)]
        prompts = np.where(previous == _UNKNOWN, 0, np.minimum(usual[previous] - _USUAL_OPENING, MAX_PROMPT_PIECES) + 1)
        longest: NDArray[np.int64] = np.minimum(timed + prompts, MAX_DECODER_POSITIONS)
        return longest


@dataclass(frozen=True)
class TargetBuilder:
    """Builds the target of each use of a clip.

    Args:
        forms: What the forms need; None where all targets are the usual labels.
        mix: Which use has which form.
        targets: The encoder of the labels.
        read_labels: Returns the usual labels of a clip.
    """

    forms: TargetForms | None
    mix: TargetMix
    targets: TargetEncoder
    read_labels: Callable[[int], list[int]]

    def build(self, use: ClipUse, speed: float = 1.0) -> Target:
        """Return the target of one use, whose times are divided by `speed`."""
        labels = self.read_labels(use.clip)
        if self.forms is None:
            return Target(labels)
        if self.mix.has_timestamps(use):
            labels = self._add_times(labels, self.forms.bounds[use.clip].tolist(), speed)
        before = int(self.forms.previous[use.clip])
        if before == _UNKNOWN or not self.mix.has_previous_text(use):
            return Target(labels)
        most = min(MAX_PROMPT_PIECES, MAX_DECODER_POSITIONS - len(labels) - 1)
        return Target(labels, list(self.targets.pieces(self.read_labels(before)))[-most:] if most > 0 else [])

    def _add_times(self, labels: list[int], bounds: Sequence[int], speed: float) -> list[int]:
        """Return the labels with times; without, where there is no place for them or the speech was not found."""
        start, end = bounds
        is_silent = not self.targets.pieces(labels)
        if not is_silent and (start == _UNKNOWN or len(labels) == MAX_DECODER_POSITIONS):
            return labels
        first = min(round(start / speed), LAST_STEP - 1)
        return self.targets.add_times(labels, first, min(max(first + 1, round(end / speed)), LAST_STEP))


@dataclass
class TargetFormsWriter:
    """Collects what the forms of a recipe's targets need, clip by clip.

    Raises:
        TrainingError: The tokenizer lacks a token that the mix needs.
    """

    targets: TargetEncoder
    mix: TargetMix
    _bounds: list[tuple[int, int]] = field(default_factory=list)
    _previous: list[int] = field(default_factory=list)
    _last_session: str | None = None

    def __post_init__(self) -> None:
        if self.mix.timestamps_share:
            self.targets.require_timestamps()
        if self.mix.previous_text_share:
            self.targets.require_previous_text()

    def add_speech(self, utterance: TranscribedSegment, audio: NDArray[np.float32] | None) -> None:
        """Add a clip with its text; without its audio, `measure_speech` follows.

        Only recorded segments have a segment before them: general speech has no order. A session is in one split, so its
        texts never cross to another.
        """
        session = utterance.session_id if utterance.source else None
        follows = session is not None and session == self._last_session and self.mix.previous_text_share > 0
        self._previous.append(len(self._previous) - 1 if follows else _UNKNOWN)
        self._last_session = session
        self._bounds.append((_UNKNOWN, _UNKNOWN))
        if audio is not None:
            self.measure_speech(len(self._bounds) - 1, audio)

    def measure_speech(self, clip: int, audio: NDArray[np.float32]) -> None:
        """Find the bounds of speech in a clip, if the mix needs them."""
        found = find_speech_bounds(audio) if self.mix.timestamps_share else None
        if found is not None:
            self._bounds[clip] = (round(found[0] * STEPS_PER_S), round(found[1] * STEPS_PER_S))

    def add_non_speech(self) -> None:
        """Add a clip without text."""
        self._previous.append(_UNKNOWN)
        self._bounds.append((_UNKNOWN, _UNKNOWN))

    def finish(self) -> TargetForms | None:
        """Return the forms; None where all targets are the usual labels."""
        if self.mix == TargetMix(self.mix.seed):
            return None
        return TargetForms(np.array(self._bounds, np.int16).reshape(-1, 2), np.array(self._previous, np.int32))
