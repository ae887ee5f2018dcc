"""Sampling that gives the same text for the same clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

SAMPLING_SEED: Final = 20260216
_SEED_DIGITS: Final = 16


def make_clip_random(audio_sha256: str) -> np.random.Generator:
    """Return random draws that depend on the seed and the clip only."""
    return np.random.default_rng([SAMPLING_SEED, int(audio_sha256[:_SEED_DIGITS], 16)])


class SeededWhisper:
    """A `ctranslate2.models.Whisper` whose sampled texts depend on nothing but the model, the clip and the seed.

    CTranslate2 keeps one random generator for each of its threads, so a sampled text depends on everything that the thread
    sampled before. A model that is loaded again has new threads, whose generators start from the seed. So one object
    serves one clip, and loads the model again where it samples. All other calls go to the shared model.
    """

    def __init__(self, shared: Any, model_folder: Path) -> None:
        self._shared = shared
        self._folder = model_folder
        self._sampler: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared, name)

    def generate(self, *arguments: Any, **options: Any) -> Any:
        """See `ctranslate2.models.Whisper.generate`."""
        if options.get("sampling_temperature", 0) <= 0:
            return self._shared.generate(*arguments, **options)
        if self._sampler is None:
            import ctranslate2

            ctranslate2.set_random_seed(SAMPLING_SEED)
            self._sampler = ctranslate2.models.Whisper(
                str(self._folder),
                device=self._shared.device,
                device_index=self._shared.device_index,
                compute_type=self._shared.compute_type,
                intra_threads=1,
                inter_threads=1,
            )
        return self._sampler.generate(*arguments, **options)
