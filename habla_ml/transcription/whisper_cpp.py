"""Decodes a ggml file with whisper.cpp through pywhispercpp (the extra `whisper-cpp`)."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar, Final

import numpy as np

from habla_ml.errors import EvaluationError
from habla_ml.transcription.audio_check import WINDOW_SAMPLES
from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.whisper_output import build_whisper_hypothesis

GGML_FILE: Final = "ggml-model.bin"
"""The file in a folder of the format `ggml`."""

_DISABLED_THRESHOLD: Final = 2.0
"""Above every probability and log-probability."""


class WhisperCpp:
    """whisper.cpp on one clip at a time, padded with silence to 30 s, in one pass without temperature fallback.

    whisper.cpp applies the silence thresholds itself and gives no no-speech probability: for silence it returns an empty
    text without an average log-probability. The average covers the tokens of the text without the end token.
    """

    model_format: ClassVar = "ggml"
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
        }
    )

    max_batch_clips = 1
    parallel_batches = 1

    def __init__(self, model_folder: Path, options: DecodingOptions, device: str, cpu_threads: int) -> None:
        path = model_folder / GGML_FILE
        if not path.is_file():
            raise EvaluationError(
                f"{model_folder} has no {GGML_FILE}; name a model version: `habla-ml compare v2@whisper.cpp …` converts it"
            )
        try:
            import _pywhispercpp as binding
            from pywhispercpp.model import Model
        except ImportError as error:
            raise EvaluationError(
                f"whisper.cpp is not installed ({error}); run: pip install 'habla-ml[whisper-cpp]'"
            ) from error
        build = str(Model.system_info())
        if device == "cuda" and "CUDA" not in build:
            # whisper.cpp would silently decode on the CPU.
            raise EvaluationError(
                f"evaluation.device is cuda, but this build of whisper.cpp has no CUDA ({build.strip()}); set it to cpu, "
                "or build pywhispercpp with GGML_CUDA=1"
            )
        self._binding = binding
        self._options = options
        if options.language not in Model.available_languages():
            raise EvaluationError(f"whisper.cpp does not support the language {options.language!r}; set another one")
        self._model = _load_ggml_model(Model, path, options, device, cpu_threads)

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Engine.transcribe`."""
        return [self._transcribe_clip(each) for each in clips]

    def _transcribe_clip(self, clip: Clip) -> Hypothesis:
        began_s = time.perf_counter()
        window = np.zeros(WINDOW_SAMPLES, np.float32)
        window[: len(clip.audio)] = clip.audio
        self._model.transcribe(window)
        tokens = self._read_tokens()
        # A letter can be split over two tokens, so join the bytes first.
        text = b"".join(raw for raw, _ in tokens).decode("utf-8", "replace").strip()
        avg_logprob = sum(each for _, each in tokens) / len(tokens) if tokens else None
        return build_whisper_hypothesis(clip, self._options, text, time.perf_counter() - began_s, avg_logprob, None)

    def _read_tokens(self) -> list[tuple[bytes, float]]:
        """Return bytes and log-probability of each text token."""
        binding, context = self._binding, self._model._ctx
        end = binding.whisper_token_eot(context)
        found: list[tuple[bytes, float]] = []
        for segment in range(binding.whisper_full_n_segments(context)):
            for at in range(binding.whisper_full_n_tokens(context, segment)):
                token = binding.whisper_full_get_token_id(context, segment, at)
                if token < end:
                    probability: Any = binding.whisper_full_get_token_p(context, segment, at)
                    found.append((binding.whisper_token_to_bytes(context, token), math.log(max(probability, 1e-30))))
        return found[: self._options.max_new_tokens]  # whisper.cpp stops one token later


def _load_ggml_model(model_class: Any, path: Path, options: DecodingOptions, device: str, cpu_threads: int) -> Any:
    """Return a loaded `pywhispercpp.model.Model`; raise `EvaluationError` if whisper.cpp logs that loading failed."""
    by_beam = options.beam_size > 1 and options.temperature == 0
    with _capture_stderr() as log:
        model = model_class(
            str(path),
            params_sampling_strategy=int(by_beam),
            redirect_whispercpp_logs_to=False,
            context_params={"use_gpu": device != "cpu"},
            n_threads=cpu_threads or os.cpu_count() or 1,
            print_progress=False,
            print_timestamps=False,
            language=options.language,
            translate=options.task == "translate",
            no_context=True,
            no_timestamps=True,
            single_segment=True,
            suppress_blank=True,
            suppress_nst=True,
            temperature=options.temperature,
            temperature_inc=0.0,
            greedy={"best_of": 1},
            beam_search={"beam_size": options.beam_size, "patience": -1.0},
            max_tokens=options.max_new_tokens or 0,
            no_speech_thold=_DISABLED_THRESHOLD if options.no_speech_threshold is None else options.no_speech_threshold,
            logprob_thold=_DISABLED_THRESHOLD if options.log_prob_threshold is None else options.log_prob_threshold,
        )
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines()
    # The binding returns a model even if loading failed, and decoding with it would crash the process.
    if any("failed to load model" in line for line in lines):
        reason = next((line for line in lines if "whisper_model_load" in line and "loading" not in line), lines[-1])
        raise EvaluationError(f"whisper.cpp cannot load {path}: {reason}; convert the checkpoint again")
    return model


@contextmanager
def _capture_stderr() -> Iterator[IO[bytes]]:
    """Redirect standard error, also of C code, to a temporary file."""
    with tempfile.TemporaryFile() as log:
        before = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield log
        finally:
            os.dup2(before, 2)
            os.close(before)
