"""Executes a Core ML archive as a phone with WhisperKit decodes it, in the interpreter of `habla_ml.runtimes`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from habla_ml.errors import ExportError
from habla_ml.runtimes.interface import TARGET_POSITIONS
from habla_ml.runtimes.program import Program
from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.program_engine import ProgramEngine
from habla_ml.transcription.token_loop import TokenRules, TokenSampler, limit_tokens, write_text
from habla_ml.transcription.whisperkit_rules import (
    WHISPERKIT_OPTIONS,
    Attempt,
    Window,
    build_whisperkit_prompt,
    transcribe_by_whisperkit_rules,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class CoreML(ProgramEngine):
    """The programs of a phone under WhisperKit's rules; their speed here says nothing about a phone."""

    model_format: ClassVar = "coreml"
    supported_options: ClassVar = WHISPERKIT_OPTIONS

    def _load_program(self, model_folder: Path, name: str) -> Program:
        from habla_ml.runtimes.mil_interpreter import load_program

        package = model_folder / f"{name}.mlpackage"
        if not package.is_dir():
            raise ExportError(
                f"there is no {package.name}. Programs that were compiled to .mlmodelc run on a Mac or a phone only"
            )
        return load_program(package)

    def _transcribe_clip(self, clip: Clip) -> Hypothesis:
        return transcribe_by_whisperkit_rules(clip, self._options, self._tokenizer, self._open_window)

    def _open_window(self, audio: NDArray[np.float32]) -> Window:
        decoder = self._bind_window(audio)
        first_logits = self._start_text(decoder)(self._tokenizer.sot)
        return Window(first_logits, partial(self._write_text, decoder))

    def _write_text(self, decoder: Program, sampler: TokenSampler) -> Attempt:
        from faster_whisper.transcribe import get_suppressed_tokens

        options, tokenizer = self._options, self._tokenizer
        begin = tokenizer.timestamp_begin if options.timestamps else None
        prompt = build_whisperkit_prompt(tokenizer, options)
        rules = TokenRules(tokenizer.eot, tuple(get_suppressed_tokens(tokenizer, [])), timestamp_begin=begin)
        # WhisperKit counts the tokens of the prompt too, but not the last one.
        most_tokens = limit_tokens(options, TARGET_POSITIONS) - len(prompt) + 1
        text = write_text(self._start_text(decoder), prompt, rules, sampler, most_tokens)
        return Attempt(text.tokens, text.avg_logprob)
