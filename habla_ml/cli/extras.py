"""Which optional packages are missing for what the settings, or the demo, use."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec
from typing import Final

from habla_ml.settings import Settings

_MODULES: Final = {
    "alignment": "praatio",
    "diarisation": "pyannote.metrics",
    "onnx": "onnx",
    "synthesis": "espeakng_loader",
    "whisper-cpp": "_pywhispercpp",
}
"""Extra of the package → a module that it installs."""
DEMO_EXTRAS: Final = tuple(_MODULES)


def find_missing_extras(extras: Collection[str]) -> list[str]:
    """Return those of the extras that are not installed."""
    return [each for each in extras if not _is_installed(_MODULES[each])]


def list_used_extras(settings: Settings) -> dict[str, str]:
    """Return extra → the key of the settings that needs it."""
    export, evaluation = settings.export, settings.evaluation
    used = {
        "onnx": ("export.onnx_quantisation", export.onnx_quantisation),
        "whisper-cpp": ("export.ggml_quantisation", export.ggml_quantisation),
        "diarisation": ("evaluation.speaker_turns", evaluation.speaker_turns),
    }
    return {extra: key for extra, (key, value) in used.items() if value is not None}


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False
