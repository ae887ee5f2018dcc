"""Augmentation of training clips: the section of a recipe, with a probability and a range for each effect.

Each use of a clip is changed anew, while it is read. What is random depends only on the recipe's seed, the clip and the pass,
so a resumed run and several processes get the same sounds. Labels do not change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SPEED_STREAM: Final = 0x60
_LONGEST_CLIP_S: Final = 30.0

Probability = Annotated[float, Field(gt=0, le=1)]
Range = tuple[float, float]


def _check_range(lowest: float, highest: float) -> Callable[[Range], Range]:
    def check(found: Range) -> Range:
        first, last = found
        if not lowest <= first <= last <= highest:
            raise ValueError(
                f"[{first:g}, {last:g}] is no range within {lowest:g} to {highest:g}; write the lower bound first"
            )
        return found

    return check


class _Effects(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Speed(_Effects):
    """Faster and slower speech; pitch follows."""

    probability: Probability = 0.5
    factor: Annotated[Range, AfterValidator(_check_range(0.5, 2.0))] = (0.9, 1.1)
    """Above 1 is faster. The encoder's window of a clip follows its duration."""


class Pitch(_Effects):
    """Higher and lower voices at the same speed, such as those of children."""

    probability: Probability = 0.3
    semitones: Annotated[Range, AfterValidator(_check_range(-12.0, 12.0))] = (-2.0, 4.0)


class Reverberation(_Effects):
    """Synthetic rooms."""

    probability: Probability = 0.3
    decay_s: Annotated[Range, AfterValidator(_check_range(0.05, 5.0))] = (0.2, 0.9)
    """Time in which the reverberation falls by 60 dB (RT60); classrooms have 0.4 to 0.8 s."""
    direct_db: Annotated[Range, AfterValidator(_check_range(-20.0, 40.0))] = (0.0, 12.0)
    """Level of the direct sound relative to the reverberation: low for a distant speaker."""


class Noise(_Effects):
    """Background noise: the run's non-speech clips, where there are any, and synthesised sounds."""

    probability: Probability = 0.4
    snr_db: Annotated[Range, AfterValidator(_check_range(-10.0, 60.0))] = (5.0, 30.0)


class Gain(_Effects):
    """Quiet and loud recordings; a peak never clips."""

    probability: Probability = 0.3
    gain_db: Annotated[Range, AfterValidator(_check_range(-60.0, 40.0))] = (-20.0, 3.0)


class Augmentation(_Effects):
    """Random changes of each use of a clip; an effect without a section is off."""

    speed: Speed | None = None
    pitch: Pitch | None = None
    reverberation: Reverberation | None = None
    noise: Noise | None = None
    gain: Gain | None = None

    def draw_speeds(self, seed: int, pass_number: int, durations_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the speed of each clip in a pass, at least so fast that the clip ends within 30 s."""
        speeds = np.ones(len(durations_s))
        if self.speed is not None:
            rng = np.random.default_rng((seed, _SPEED_STREAM, pass_number))
            is_changed = rng.random(len(speeds)) < self.speed.probability
            speeds[is_changed] = rng.uniform(*self.speed.factor, len(speeds))[is_changed]
        return np.maximum(speeds, durations_s / _LONGEST_CLIP_S)
