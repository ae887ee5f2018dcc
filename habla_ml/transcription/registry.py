"""Names of all engines and hosted services: the only place that lists them.

A new engine is one module with a class of the shape `habla_ml.transcription.engine.Engine`, and a row in `ENGINES`. A
new hosted service is one module with a class of the shape `habla_ml.transcription.hosted.service.SpeechService`, a row
in `HOSTED_SERVICES`, and its section in `habla_ml.settings.hosted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final


@dataclass(frozen=True)
class RegisteredClass:
    """Where the class of an engine or of a service is; nothing is imported before `load`."""

    module: str
    name: str
    environment: str | None = None
    """The virtual environment `.venv-<environment>` in which an engine runs; None for the project's own."""
    rules: int = 1
    """Raised when an engine gives other texts for the same options, so that cached hypotheses are decoded again."""

    def load(self) -> Any:
        """Import the module and return the class."""
        return getattr(import_module(self.module), self.name)


ENGINES: Final[Mapping[str, RegisteredClass]] = {
    "faster-whisper": RegisteredClass("habla_ml.transcription.faster_whisper", "FasterWhisper"),
    "faster-whisper-batched": RegisteredClass("habla_ml.transcription.faster_whisper_batched", "FasterWhisperBatched"),
    "faster-whisper-sequential": RegisteredClass(
        "habla_ml.transcription.faster_whisper_sequential", "FasterWhisperSequential", rules=2
    ),
    "whisperkit-rules": RegisteredClass("habla_ml.transcription.whisperkit_engine", "WhisperKitRules", rules=3),
    "coreml": RegisteredClass("habla_ml.transcription.coreml", "CoreML", rules=2),
    "onnx": RegisteredClass("habla_ml.transcription.onnx", "Onnx"),
    "transformers": RegisteredClass("habla_ml.transcription.transformers_engine", "Transformers"),
    "whisper.cpp": RegisteredClass("habla_ml.transcription.whisper_cpp", "WhisperCpp"),
    "whisperx": RegisteredClass("habla_ml.transcription.whisperx", "WhisperX", environment="whisperx"),
}

HOSTED_SERVICES: Final[Mapping[str, RegisteredClass]] = {
    "google": RegisteredClass("habla_ml.transcription.hosted.google", "Google"),
    "aws": RegisteredClass("habla_ml.transcription.hosted.aws", "Aws"),
    "azure": RegisteredClass("habla_ml.transcription.hosted.azure", "Azure"),
    "deepgram": RegisteredClass("habla_ml.transcription.hosted.deepgram", "Deepgram"),
}
