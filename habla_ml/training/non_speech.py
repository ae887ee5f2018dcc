"""What a model hears while nobody speaks, so that it learns to write nothing there.

Fine-tuning on speech alone makes Whisper forget silence within a few hundred steps: it then writes a sentence for
every cough. The segments that people found to be without speech come first, sounds made from a seed fill up.
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
    """Sounds without speech for a run; two runs of one seed hear the same."""

    share: float = 0.0
    """Of all clips of the run; 0 for none."""
    seed: int = 0
    annotated: Iterable[NDArray[np.int16]] = ()
    """Samples at 16 kHz, mono, of segments that people found to be without speech."""

    def clips(self, n_speech: int, n_pieces: int) -> Iterator[tuple[NDArray[np.int16], int | None]]:
        """Samples of each sound, and the piece that is guessed for it (see `TargetEncoder.encode_silence`).

        Args:
            n_speech: How many clips of speech stand beside them.
            n_pieces: Guesses are ids below this.
        """
        n_clips = round(n_speech * self.share / (1 - self.share))
        guesses = np.random.default_rng([self.seed, _RANDOM_TOKEN_STREAM])
        for _, pcm in zip(range(n_clips), self._iterate_sounds(), strict=False):
            piece = int(guesses.integers(n_pieces))
            yield pcm, piece if guesses.random() < _RANDOM_TOKEN_SHARE else None

    def _iterate_sounds(self) -> Iterator[NDArray[np.int16]]:
        yield from self.annotated
        rng = np.random.default_rng([self.seed, _SOUND_STREAM])
        while True:
            yield synthesise_random_background(rng)
