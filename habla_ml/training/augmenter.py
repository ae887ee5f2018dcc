"""The augmented samples of one use of a clip, computed where the clips are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from habla_ml.audio import dequantise
from habla_ml.audio.background_sounds import BACKGROUND_SOUNDS, synthesise_background
from habla_ml.audio.speech_effects import add_noise, add_reverberation, change_gain, change_speed, shift_pitch
from habla_ml.training.augmentation import Augmentation, Range
from habla_ml.training.schedule import ClipUse

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CLIP_STREAM, _BACKGROUND_STREAM = 0x61, 0x62
_BACKGROUNDS: Final = tuple(kind for kind in BACKGROUND_SOUNDS if kind != "silence")
_VARIANTS: Final = 6
"""Synthesised sounds of each kind. A process keeps them, since a new one takes up to 60 ms."""
_BACKGROUND_S: Final = 6.0
_BACKGROUND_DBFS: Final = -30.0


class Augmenter:
    """Reads uses of clips with the effects of a recipe.

    Args:
        settings: The recipe's augmentation.
        seed: The recipe's seed.
        durations_s: Duration of each clip.
        n_speech: Clips from this one on have no speech. They serve as noise, and keep their pitch and room.
        read_clip: Returns the samples of a clip.
    """

    def __init__(
        self,
        settings: Augmentation,
        seed: int,
        durations_s: NDArray[np.float64],
        n_speech: int,
        read_clip: Callable[[int], NDArray[np.float32]],
    ) -> None:
        self._settings, self._seed = settings, seed
        self._durations_s, self._n_speech, self._read_clip = durations_s, n_speech, read_clip
        self._speeds: tuple[int, NDArray[np.float64]] = (-1, np.zeros(0))

    def get_speed(self, use: ClipUse) -> float:
        """Return the speed of the use; its duration is that of the clip divided by it."""
        if self._speeds[0] != use.pass_number:
            speeds = self._settings.draw_speeds(self._seed, use.pass_number, self._durations_s)
            self._speeds = (use.pass_number, speeds)
        return float(self._speeds[1][use.clip])

    def read(self, use: ClipUse) -> NDArray[np.float32]:
        """Return the samples of the use: voice, then room, noise and level."""
        settings, samples = self._settings, self._read_clip(use.clip)
        rng = np.random.default_rng((self._seed, _CLIP_STREAM, use.pass_number, use.clip))
        # All are drawn in any case, so that one effect does not change the others.
        (pitch, room, noise, gain), (at_pitch, at_room, at_noise, at_gain, at_direct) = rng.random(4), rng.random(5)
        if (speed := self.get_speed(use)) != 1:
            samples = change_speed(samples, speed)
        is_speech = use.clip < self._n_speech
        if is_speech and settings.pitch is not None and pitch < settings.pitch.probability:
            samples = shift_pitch(samples, _place(settings.pitch.semitones, at_pitch))
        if is_speech and settings.reverberation is not None and room < settings.reverberation.probability:
            decay_s = _place(settings.reverberation.decay_s, at_room)
            samples = add_reverberation(samples, decay_s, _place(settings.reverberation.direct_db, at_direct), rng)
        if settings.noise is not None and noise < settings.noise.probability:
            samples = add_noise(samples, self._draw_noise(len(samples), rng), _place(settings.noise.snr_db, at_noise))
        if settings.gain is not None and gain < settings.gain.probability:
            return change_gain(samples, _place(settings.gain.gain_db, at_gain))
        return change_gain(samples, 0.0)

    def _draw_noise(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return part of a non-speech clip of the run or, half of the time where it has any, of a synthesised sound."""
        n_recorded = len(self._durations_s) - self._n_speech
        if n_recorded and rng.random() < 0.5:
            sound = self._read_clip(self._n_speech + int(rng.integers(n_recorded)))
        else:
            sound = dequantise(self._synthesise(int(rng.integers(len(_BACKGROUNDS) * _VARIANTS))))
        first = int(rng.integers(max(1, len(sound) - n_samples + 1)))
        return sound[first : first + n_samples]

    @cached_property
    def _synthesised(self) -> dict[int, NDArray[np.int16]]:
        return {}

    def _synthesise(self, number: int) -> NDArray[np.int16]:
        """Return a synthesised sound; the same number gives the same sound in every process."""
        if number not in self._synthesised:
            rng = np.random.default_rng((self._seed, _BACKGROUND_STREAM, number))
            kind = _BACKGROUNDS[number // _VARIANTS]
            self._synthesised[number] = synthesise_background(kind, _BACKGROUND_S, _BACKGROUND_DBFS, rng)
        return self._synthesised[number]


def _place(bounds: Range, share: float) -> float:
    return float(bounds[0] + (bounds[1] - bounds[0]) * share)
