"""The shared part of the engines that decode one clip after the other, with attempts at higher temperatures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.faster_whisper import load_ctranslate2_model
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.seeded_sampling import SeededWhisper
from habla_ml.transcription.whisper_output import build_whisper_tokenizer


class OneClipEngine(ABC):
    """A CTranslate2 folder that is decoded clip by clip; a sampled text depends on the model and the clip alone."""

    model_format: ClassVar = "ctranslate2"
    max_batch_clips = 1

    def __init__(self, model_folder: Path, options: DecodingOptions, device: str, cpu_threads: int) -> None:
        self._folder = model_folder
        self._model = load_ctranslate2_model(model_folder, device, cpu_threads)
        multilingual = self._model.model.is_multilingual
        # It refuses an unknown language, for which faster-whisper would fall back to English.
        self._tokenizer = build_whisper_tokenizer(self._model.hf_tokenizer, multilingual, model_folder, options)
        self._options = options
        self.parallel_batches = self._model.model.num_workers

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Engine.transcribe`."""
        return [self._transcribe_clip(each, SeededWhisper(self._model.model, self._folder)) for each in clips]

    @abstractmethod
    def _transcribe_clip(self, clip: Clip, sampler: SeededWhisper) -> Hypothesis:
        """Decode one clip; `sampler` replaces the model where texts are sampled."""
