"""Non-speech clips for training, with no text as their target.

After a few hundred steps on speech alone, Whisper hallucinates a sentence for every cough. Segments that people marked
as non-speech are used first; synthesised background sounds fill the remaining share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.audio.background_sounds import synthesise_random_background

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SOUND_STREAM = 0x50
_RANDOM_TOKEN_STREAM = 0x51
_RANDOM_TOKEN_SHARE = 0.5


@dataclass(frozen=True)
class NonSpeech:
    """Non-speech clips of a run; the same seed gives the same clips."""

    share: float = 0.0
    """Share of all clips of the run; 0 for none."""
    seed: int = 0
    annotated: Iterable[NDArray[np.int16]] = ()
    """Samples (16 kHz, mono) of segments that people marked as non-speech."""

    def clips(self, n_speech: int, n_pieces: int) -> Iterator[tuple[NDArray[np.int16], int | None]]:
        """Yield the samples of each clip and its random token (see `TargetEncoder.encode_silence`).

        Args:
            n_speech: Number of clips with speech.
            n_pieces: Random tokens are ids below this.
        """
        n_clips = round(n_speech * self.share / (1 - self.share))
        rng = np.random.default_rng([self.seed, _RANDOM_TOKEN_STREAM])
        for _, pcm in zip(range(n_clips), self._iterate_sounds(), strict=False):
            token = int(rng.integers(n_pieces))
            yield pcm, token if rng.random() < _RANDOM_TOKEN_SHARE else None

    def _iterate_sounds(self) -> Iterator[NDArray[np.int16]]:
        yield from self.annotated
        rng = np.random.default_rng([self.seed, _SOUND_STREAM])
        while True:
            yield synthesise_random_background(rng)
