"""The export formats. A new format is one module with an `Exporter`, and one row here."""

from __future__ import annotations

from typing import Final

from habla_ml.export.coreml.archive import COREML
from habla_ml.export.ctranslate2 import CTRANSLATE2
from habla_ml.export.exporter import Exporter
from habla_ml.export.ggml import GGML
from habla_ml.export.onnx import ONNX
from habla_ml.export.transformers_folder import TRANSFORMERS
from habla_ml.settings.models import ExportSettings

EXPORTERS: Final[tuple[Exporter, ...]] = (COREML, CTRANSLATE2, GGML, ONNX, TRANSFORMERS)
"""In the order of a release's archives: a channel's `url` names the first one that the version has."""

SERVED: Final = CTRANSLATE2
"""The format that Habla serves. Evaluation measures it, and every release contains it."""


def list_asset_exporters(settings: ExportSettings) -> tuple[Exporter, ...]:
    """Return the formats that have an asset and that the settings do not leave out."""
    return tuple(each for each in EXPORTERS if each.asset is not None and each.is_enabled(settings))


def find_exporter(model_format: str) -> Exporter | None:
    """Return the exporter of an engine's `model_format`; None for `checkpoint`, which needs no conversion."""
    return next((each for each in EXPORTERS if each.name == model_format), None)
