"""Decodes with faster-whisper's batched pipeline, as an alternative to what Habla serves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from habla_ml.audio import SAMPLE_RATE
from habla_ml.errors import EvaluationError
from habla_ml.transcription.engine import Clip, Hypothesis, RecognisedWord
from habla_ml.transcription.faster_whisper import load_ctranslate2_model
from habla_ml.transcription.options import REPEATED_ATTEMPT_OPTIONS, DecodingOptions
from habla_ml.transcription.whisper_output import build_whisper_tokenizer

if TYPE_CHECKING:
    from faster_whisper.transcribe import Segment
    from numpy.typing import NDArray

_DEFAULT_BATCH_CLIPS: Final = 8
"""The pipeline's default."""
_CLIP_GRID_SAMPLES: Final = SAMPLE_RATE // 50
"""Clips start on a grid of 20 ms, because the pipeline identifies a clip by its start in whole frames of 10 ms."""
_FRAMES_PER_S: Final = 100
_PROMPT_TOKENS: Final = 4


class FasterWhisperBatched:
    """`BatchedInferencePipeline`, which gets the clips concatenated into one long audio.

    Its texts differ from Habla's: it pads features with zeros instead of audio with silence, and applies no thresholds.
    It ignores the temperature too, because CTranslate2 then takes the most probable token.
    """

    model_format: ClassVar = "ctranslate2"
    supported_options: ClassVar = (
        frozenset(DecodingOptions.model_fields)
        - REPEATED_ATTEMPT_OPTIONS
        - {"vad", "temperature", "no_speech_threshold", "log_prob_threshold", "compression_ratio_threshold"}
    )

    def __init__(self, model_folder: Path, options: DecodingOptions, device: str, cpu_threads: int) -> None:
        self._model = load_ctranslate2_model(model_folder, device, cpu_threads)
        multilingual = self._model.model.is_multilingual
        # Only for its errors: with an unknown language the pipeline would fall back to English.
        build_whisper_tokenizer(self._model.hf_tokenizer, multilingual, model_folder, options)
        self._options = options
        self.max_batch_clips = options.batch_size or _DEFAULT_BATCH_CLIPS
        self.parallel_batches = self._model.model.num_workers
        most = self._model.max_length - _PROMPT_TOKENS
        if options.max_new_tokens is not None and options.max_new_tokens > most:
            raise EvaluationError(
                f"max_new_tokens is {options.max_new_tokens}; set {most} or less, the limit of {model_folder}"
            )

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Engine.transcribe`."""
        from faster_whisper import BatchedInferencePipeline

        began_s = time.perf_counter()
        options = self._options
        audio, starts = _concatenate_clips(clips)
        segments, _ = BatchedInferencePipeline(self._model).transcribe(  # the pipeline has state
            audio,
            language=options.language,
            task=options.task,
            beam_size=options.beam_size,
            patience=options.patience,
            length_penalty=options.length_penalty,
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            temperature=options.temperature,
            max_new_tokens=options.max_new_tokens,
            word_timestamps=options.word_times,
            without_timestamps=True,
            vad_filter=False,
            batch_size=len(clips),
            # Add a quarter of a sample, because the pipeline truncates fractions.
            clip_timestamps=[
                {"start": (at + 0.25) / SAMPLE_RATE, "end": (at + len(each.audio) + 0.25) / SAMPLE_RATE}
                for at, each in zip(starts, clips, strict=True)
            ],
        )
        by_frame: dict[int, list[Segment]] = {int(at / SAMPLE_RATE * _FRAMES_PER_S): [] for at in starts}
        for segment in segments:
            by_frame[segment.seek].append(segment)
        share_s = (time.perf_counter() - began_s) / len(clips)
        return [
            _build_hypothesis(clip, frame / _FRAMES_PER_S, found, share_s)
            for clip, (frame, found) in zip(clips, by_frame.items(), strict=True)
        ]


def _concatenate_clips(clips: Sequence[Clip]) -> tuple[NDArray[np.float32], list[int]]:
    """Return all samples, and the index of the first sample of each clip."""
    starts, end = [], 0
    for each in clips:
        starts.append(end)
        end += -(-len(each.audio) // _CLIP_GRID_SAMPLES) * _CLIP_GRID_SAMPLES
    audio = np.zeros(end, np.float32)
    for at, each in zip(starts, clips, strict=True):
        audio[at : at + len(each.audio)] = each.audio
    return audio, starts


def _build_hypothesis(clip: Clip, start_s: float, segments: Sequence[Segment], decode_s: float) -> Hypothesis:
    words = (word for segment in segments for word in segment.words or ())
    return Hypothesis.of(
        clip,
        "".join(each.text for each in segments).strip(),
        decode_s,
        float(segments[0].avg_logprob) if segments else None,
        float(segments[0].no_speech_prob) if segments else None,
        tuple(
            RecognisedWord.inside(clip.duration_s, each.word.strip(), each.start - start_s, each.end - start_s)
            for each in words
        ),
    )
