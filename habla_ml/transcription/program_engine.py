"""The shared part of the engines that execute a release of three programs token by token, on the CPU."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from habla_ml.errors import EvaluationError, ExportError
from habla_ml.process import keep_freed_memory
from habla_ml.runtimes.cached_decoder import CachedDecoder
from habla_ml.runtimes.interface import PROGRAM_NAMES, read_model_shape
from habla_ml.runtimes.program import Program
from habla_ml.transcription.audio_check import WINDOW_SAMPLES
from habla_ml.transcription.engine import Clip, Hypothesis
from habla_ml.transcription.options import DecodingOptions
from habla_ml.transcription.whisper_output import build_whisper_tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_CONFIG_FILES: Final = ("config.json", "generation_config.json", "tokenizer.json")


class ProgramEngine(ABC):
    """A folder with MelSpectrogram, AudioEncoder, TextDecoder, tokenizer and configs.

    Clips are decoded at the same time, one thread for each core: the encoder needs most of the time, and a pass over
    several clips would not shorten it. `device` is not used.
    """

    max_batch_clips = 1

    def __init__(
        self,
        model_folder: Path,
        options: DecodingOptions,
        device: str,  # noqa: ARG002 - the programs run on the CPU
        cpu_threads: int,
    ) -> None:
        if options.beam_size > 1:
            raise EvaluationError(
                f"the engine {options.engine} writes one text at a time, and beam_size is {options.beam_size}; set it to 1"
            )
        missing = [name for name in _CONFIG_FILES if not (model_folder / name).is_file()]
        if missing:
            raise EvaluationError(f"{model_folder} lacks {', '.join(missing)}; export the model version again")
        import tokenizers
        import torch

        keep_freed_memory()
        torch.set_num_threads(1)
        self._options = options
        try:
            self._shape = read_model_shape(model_folder)
            programs = [self._load_program(model_folder, name) for name in PROGRAM_NAMES]
            self._generation: dict[str, Any] = json.loads((model_folder / "generation_config.json").read_text("utf-8"))
        except (ExportError, ValueError, KeyError) as error:
            raise EvaluationError(f"{options.engine} cannot load {model_folder}: {error}") from error
        self._mel, self._encoder, self._decoder = programs
        self._tokenizer = build_whisper_tokenizer(
            tokenizers.Tokenizer.from_file(str(model_folder / "tokenizer.json")),
            self._generation.get("is_multilingual", True),
            model_folder,
            options,
        )
        self.parallel_batches = cpu_threads or os.cpu_count() or 1

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        """See `Engine.transcribe`."""
        import torch

        with torch.inference_mode():
            return [self._transcribe_clip(each) for each in clips]

    @abstractmethod
    def _transcribe_clip(self, clip: Clip) -> Hypothesis:
        """Decode one clip."""

    @abstractmethod
    def _load_program(self, model_folder: Path, name: str) -> Program:
        """Load one of `PROGRAM_NAMES`; raises `ExportError`."""

    def _bind_window(self, audio: NDArray[np.float32]) -> Program:
        """Return the decoder of at most 30 s of audio, padded with silence."""
        import torch

        window = np.zeros(WINDOW_SAMPLES, np.float32)
        window[: len(audio)] = audio
        features = self._mel({"audio": torch.from_numpy(window)})
        states: Tensor = self._encoder(features)["encoder_output_embeds"]
        return self._decoder.bind({"encoder_output_embeds": states})

    def _start_text(self, decoder: Program) -> Callable[[int], NDArray[np.float64]]:
        """Return a function that takes a token and returns the logits of the next one."""
        text = CachedDecoder(decoder, self._shape)

        def add_token(token: int) -> NDArray[np.float64]:
            logits, _ = text.add_token(token)
            values: NDArray[np.float64] = logits.numpy().astype(np.float64)
            return values

        return add_token
