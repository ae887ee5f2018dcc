"""The registry of annotation sources. A new source is one module or package here, and one row in `SOURCES`."""

from __future__ import annotations

from typing import Final

from habla_ml.annotation.source import AnnotationSource
from habla_ml.annotation.sources import habla
from habla_ml.annotation.sources.label_studio import source as label_studio
from habla_ml.annotation.sources.tables import source as tables

SOURCES: Final[tuple[AnnotationSource, ...]] = (habla.SOURCE, tables.SOURCE, label_studio.SOURCE)
"""Every source, in the order in which a day's events are collected."""
