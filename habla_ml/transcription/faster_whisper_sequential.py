"""Decodes with faster-whisper's own `WhisperModel.transcribe`, one clip after the other."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.faster_whisper import load_ctranslate2_model
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.seeded_sampling import SeededWhisper
from habla_ml.transcription.whisper_output import build_whisper_tokenizer


class FasterWhisperSequential:
    """`WhisperModel.transcribe` with its timestamps, its attempts at higher temperatures, and a fixed seed.

    It pads features with zeros instead of audio with silence, and decodes a clip again from its last timestamp.
    """

    model_format: ClassVar = "ctranslate2"
    supported_options: ClassVar = frozenset(DecodingOptions.model_fields) - {
        "batch_size",
        "word_times",
        "vad",
        "first_token_log_prob_threshold",
    }

    max_batch_clips = 1

    def __init__(self, model_folder: Path, options: DecodingOptions, device: str, cpu_threads: int) -> None:
        self._folder = model_folder
        self._model = load_ctranslate2_model(model_folder, device, cpu_threads)
        # Only for its errors: with an unknown language faster-whisper would fall back to English.
        build_whisper_tokenizer(self._model.hf_tokenizer, self._model.model.is_multilingual, model_folder, options)
        self._options = options
        self.parallel_batches = self._model.model.num_workers

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Engine.transcribe`."""
        return [self._transcribe_clip(each) for each in clips]

    def _transcribe_clip(self, clip: Clip) -> Hypothesis:
        began_s = time.perf_counter()
        options = self._options
        model = copy.copy(self._model)
        model.model = SeededWhisper(self._model.model, self._folder)
        found, _ = model.transcribe(
            clip.audio,
            language=options.language,
            task=options.task,
            beam_size=options.beam_size,
            best_of=options.best_of,
            patience=options.patience,
            length_penalty=options.length_penalty,
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            temperature=[options.temperature, *options.fallback_temperatures],
            compression_ratio_threshold=options.compression_ratio_threshold,
            log_prob_threshold=options.log_prob_threshold,
            no_speech_threshold=options.no_speech_threshold,
            without_timestamps=not options.timestamps,
            max_new_tokens=options.max_new_tokens,
        )
        segments = list(found)
        first = segments[0] if segments else None
        return Hypothesis.of(
            clip,
            "".join(each.text for each in segments).strip(),
            time.perf_counter() - began_s,
            float(first.avg_logprob) if first else None,
            float(first.no_speech_prob) if first else None,
        )
