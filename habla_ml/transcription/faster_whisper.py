"""Decodes as Habla serves a model: faster-whisper on a CTranslate2 folder, one clip in one 30 s window."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from habla_ml.audio import SAMPLE_RATE
from habla_ml.errors import EvaluationError
from habla_ml.process import keep_freed_memory
from habla_ml.transcription.audio_check import WINDOW_SAMPLES
from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.options import REPEATED_ATTEMPT_OPTIONS, DecodingOptions
from habla_ml.transcription.speech_clips import SpeechSpan, find_speech_span
from habla_ml.transcription.whisper_output import (
    build_recognised_words,
    build_whisper_hypothesis,
    build_whisper_tokenizer,
)

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from numpy.typing import NDArray

_FRAME_SAMPLES: Final = 160
_WINDOW_FRAMES: Final = WINDOW_SAMPLES // _FRAME_SAMPLES
_SILENT_TAIL_SAMPLES: Final = 800
"""Silence after a clip, so that the last frame of its features contains only silence."""
_MIN_ALIGNED_FRAMES: Final = 32
_GPU_BATCH_CLIPS: Final = 16
_REQUIRED_CT2_FILES: Final = ("model.bin", "config.json", "tokenizer.json", "preprocessor_config.json")


class FasterWhisper:
    """faster-whisper in one window: given language, no timestamps, audio padded with silence to 30 s.

    With `vad` a clip is decoded from its first to its last speech, as WhisperX does. Encoder and beam search process the
    clips of a batch together. Without `vad` the text of each clip equals the text that `WhisperModel.transcribe` returns
    for the padded clip alone. Word times are computed from the cross-attention (CTranslate2's `align`) and do not change
    the text.
    """

    model_format: ClassVar = "ctranslate2"
    supported_options: ClassVar = frozenset(DecodingOptions.model_fields) - REPEATED_ATTEMPT_OPTIONS

    def __init__(self, model_folder: Path, options: DecodingOptions, device: str, cpu_threads: int) -> None:
        self._model = load_ctranslate2_model(model_folder, device, cpu_threads)
        multilingual = self._model.model.is_multilingual
        self._tokenizer = build_whisper_tokenizer(self._model.hf_tokenizer, multilingual, model_folder, options)
        self._options = options
        on_gpu = self._model.model.device == "cuda"
        self.max_batch_clips = options.batch_size or (_GPU_BATCH_CLIPS if on_gpu else 1)
        self.parallel_batches = self._model.model.num_workers

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Engine.transcribe`."""
        started = time.perf_counter()
        spans = [
            find_speech_span(each.audio) if self._options.vad else SpeechSpan(0, len(each.audio)) for each in clips
        ]
        found = [Hypothesis.of(each, "", 0.0) for each in clips]
        spoken = [(at, span, clips[at].audio[span.start : span.end]) for at, span in enumerate(spans) if span]
        if spoken:
            audios = [audio for _, _, audio in spoken]
            encoded = self._model.encode(np.stack([compute_window_features(self._model, each) for each in audios]))
            results = self._run_beam_search(encoded, len(audios))
            words = self._align_words(encoded, audios, results) if self._options.word_times else [[]] * len(audios)
            for (at, span, _), result, timings in zip(spoken, results, words, strict=True):
                found[at] = self._build_hypothesis(clips[at], span, result, timings)
        share_s = (time.perf_counter() - started) / len(clips)
        return [replace(each, decode_s=share_s) for each in found]

    def _run_beam_search(self, encoded: Any, n_clips: int) -> list[Any]:
        from faster_whisper.transcribe import get_suppressed_tokens

        model, options, tokenizer = self._model, self._options, self._tokenizer
        prompt = model.get_prompt(tokenizer, [], without_timestamps=True)
        longest = model.max_length
        if options.max_new_tokens is not None:
            longest = min(longest, len(prompt) + options.max_new_tokens)
        search = {"beam_size": options.beam_size, "patience": options.patience}
        if options.temperature > 0:
            search = {"beam_size": 1, "sampling_topk": 0, "sampling_temperature": options.temperature}
        results: list[Any] = model.model.generate(
            encoded,
            [prompt] * n_clips,
            length_penalty=options.length_penalty,
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            max_length=longest,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
            **search,
        )
        return results

    def _align_words(self, encoded: Any, audios: Sequence[NDArray[np.float32]], results: Sequence[Any]) -> list[Any]:
        """Return the word timings of each clip; none where the text is longer than the model can align."""
        end = self._tokenizer.eot
        tokens = [[token for token in result.sequences_ids[0] if token < end] for result in results]
        frames = [max(_MIN_ALIGNED_FRAMES, math.ceil(len(each) / _FRAME_SAMPLES)) for each in audios]
        timings: list[Any] = self._model.find_alignment(self._tokenizer, tokens, encoded, frames)
        return timings

    def _build_hypothesis(
        self, clip: Clip, span: SpeechSpan, result: Any, timings: Sequence[Mapping[str, Any]]
    ) -> Hypothesis:
        tokens = result.sequences_ids[0]
        # CTranslate2 divides by length ** penalty without the end token; faster-whisper counts the end token.
        avg_logprob = result.scores[0] * len(tokens) ** self._options.length_penalty / (len(tokens) + 1)
        return build_whisper_hypothesis(
            clip,
            self._options,
            self._tokenizer.decode(tokens).strip(),
            0.0,
            float(avg_logprob),
            float(result.no_speech_prob),
            build_recognised_words(timings, clip.duration_s, span.start / SAMPLE_RATE),
        )


def load_ctranslate2_model(model_folder: Path, device: str, cpu_threads: int) -> WhisperModel:
    """Load a CTranslate2 folder without network access, with one worker per CPU core, or one on a GPU.

    CTranslate2 releases the GIL; for small models, parallel clips are faster than more threads per clip.

    Raises:
        EvaluationError: A file is missing, or the model cannot be loaded on this device.
    """
    missing = [name for name in _REQUIRED_CT2_FILES if not (model_folder / name).is_file()]
    if missing:
        raise EvaluationError(
            f"{model_folder} lacks {', '.join(missing)}, which faster-whisper would download; name a folder that "
            "`ctranslate2_model` wrote"
        )
    import ctranslate2
    from faster_whisper import WhisperModel

    keep_freed_memory()
    on_gpu = device == "cuda" or (device == "auto" and ctranslate2.get_cuda_device_count() > 0)
    try:
        return WhisperModel(
            str(model_folder),
            device=device,
            cpu_threads=1,
            num_workers=1 if on_gpu else cpu_threads or os.cpu_count() or 1,
            local_files_only=True,
        )
    except (RuntimeError, ValueError) as error:
        raise EvaluationError(
            f"faster-whisper cannot load {model_folder} on {device}: {error}; "
            "convert the checkpoint again, or set evaluation.device to cpu"
        ) from error


def compute_window_features(model: WhisperModel, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the log-mel features of a clip padded with silence to 30 s, shape [n_mels, 3000].

    All frames of silence are equal, so only the frames of the clip and one frame of silence are computed.
    """
    with_tail = np.zeros(len(audio) + _SILENT_TAIL_SAMPLES, dtype=np.float32)
    with_tail[: len(audio)] = audio
    spoken: NDArray[np.float32] = model.feature_extractor(with_tail)[:, :_WINDOW_FRAMES]
    features = np.empty((spoken.shape[0], _WINDOW_FRAMES), dtype=np.float32)
    features[:, : spoken.shape[1]] = spoken
    features[:, spoken.shape[1] :] = spoken[:, -1:]
    return features
