"""Which class decodes for which engine; a new engine is a module with a class of `Engine`'s shape and a row here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from habla_ml.errors import EvaluationError
from habla_ml.transcription.engine import Engine
from habla_ml.transcription.options import LocalEngine
from habla_ml.transcription.whisperx import find_whisperx_python

ENGINES: Final[Mapping[LocalEngine, tuple[str, str]]] = {
    "faster-whisper": ("habla_ml.transcription.faster_whisper", "FasterWhisper"),
    "faster-whisper-batched": ("habla_ml.transcription.faster_whisper_batched", "FasterWhisperBatched"),
    "transformers": ("habla_ml.transcription.transformers_engine", "Transformers"),
    "whisper.cpp": ("habla_ml.transcription.whisper_cpp", "WhisperCpp"),
    "whisperx": ("habla_ml.transcription.whisperx", "WhisperX"),
}
"""Engine → module and class."""


def load_engine_class(name: LocalEngine) -> type[Engine]:
    """The class of an engine; importing it is light.

    Raises:
        EvaluationError: The engine is not built in.
    """
    if name not in ENGINES:
        raise EvaluationError(f"engine {name} is not built in; choose one of {', '.join(sorted(ENGINES))}")
    module, attribute = ENGINES[name]
    found: type[Engine] = getattr(import_module(module), attribute)
    return found


def find_engine_python(name: LocalEngine) -> Path | None:
    """The interpreter of an engine that lives in an environment of its own; None for those that run in ours.

    Raises:
        EvaluationError: That environment is not installed.
    """
    return find_whisperx_python() if name == "whisperx" else None
