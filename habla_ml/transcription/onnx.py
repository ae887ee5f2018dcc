"""Executes an ONNX release in onnxruntime: greedy, in one window, without timestamps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from habla_ml.runtimes.interface import TARGET_POSITIONS
from habla_ml.runtimes.onnx_program import load_onnx_program
from habla_ml.runtimes.program import Program
from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.program_engine import ProgramEngine
from habla_ml.transcription.seeded_sampling import make_clip_random
from habla_ml.transcription.speech_clips import SpeechSpan, find_speech_span
from habla_ml.transcription.token_loop import (
    TokenRules,
    TokenSampler,
    compute_no_speech_prob,
    limit_tokens,
    write_text,
)
from habla_ml.transcription.whisper_output import build_whisper_hypothesis


class Onnx(ProgramEngine):
    """Prompt, suppressed tokens, averages and thresholds are those of `faster_whisper.FasterWhisper`."""

    model_format: ClassVar = "onnx"
    supported_options: ClassVar = frozenset(
        {
            "beam_size",
            "language",
            "task",
            "temperature",
            "no_speech_threshold",
            "log_prob_threshold",
            "compression_ratio_threshold",
            "max_new_tokens",
            "vad",
        }
    )

    def _load_program(self, model_folder: Path, name: str) -> Program:
        return load_onnx_program(model_folder / f"{name}.onnx", threads=1)

    def _transcribe_clip(self, clip: Clip) -> Hypothesis:
        from faster_whisper.transcribe import get_suppressed_tokens

        began_s = time.perf_counter()
        options, tokenizer = self._options, self._tokenizer
        span = find_speech_span(clip.audio) if options.vad else SpeechSpan(0, len(clip.audio))
        if span is None:
            return Hypothesis.of(clip, "", time.perf_counter() - began_s)
        rules = TokenRules(
            tokenizer.eot,
            tuple(get_suppressed_tokens(tokenizer, [-1])),
            tuple(self._generation.get("begin_suppress_tokens") or ()),
        )
        written = write_text(
            self._start_text(self._bind_window(clip.audio[span.start : span.end])),
            [*tokenizer.sot_sequence, tokenizer.no_timestamps],
            rules,
            TokenSampler(options.temperature, random=make_clip_random(clip.audio_sha256)),
            limit_tokens(options, TARGET_POSITIONS),
        )
        return build_whisper_hypothesis(
            clip,
            options,
            tokenizer.decode([each for each in written.tokens if each < tokenizer.eot]).strip(),
            time.perf_counter() - began_s,
            written.avg_logprob,
            compute_no_speech_prob(written, tokenizer.no_speech),
        )
