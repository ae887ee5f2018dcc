"""Decodes with faster-whisper's own `WhisperModel.transcribe`, one clip after the other."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import ClassVar

from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.one_clip_engine import OneClipEngine
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.seeded_sampling import SeededWhisper


class FasterWhisperSequential(OneClipEngine):
    """`WhisperModel.transcribe` with its timestamps, its attempts at higher temperatures, and a fixed seed.

    It pads features with zeros instead of audio with silence, and decodes a clip again from its last timestamp.
    """

    supported_options: ClassVar = frozenset(DecodingOptions.model_fields) - {
        "batch_size",
        "word_times",
        "vad",
        "first_token_log_prob_threshold",
    }

    def _transcribe_clip(self, clip: Clip, sampler: SeededWhisper) -> Hypothesis:
        began_s = time.perf_counter()
        options = self._options
        model = copy.copy(self._model)
        model.model = sampler
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
        decoded = Hypothesis.of(
            clip,
            "".join(each.text for each in segments).strip(),
            time.perf_counter() - began_s,
            float(first.avg_logprob) if first else None,
            float(first.no_speech_prob) if first else None,
        )
        if first is None or not options.timestamps:
            return decoded
        return replace(decoded, segments_s=(float(first.start), min(float(segments[-1].end), clip.duration_s)))
