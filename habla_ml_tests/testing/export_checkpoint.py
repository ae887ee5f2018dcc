"""Exports of a checkpoint without a lake."""

from __future__ import annotations

from pathlib import Path

from habla_ml.export.exporter import ConvertedModel, Exporter, ExportOptions, Progress


def ignore_progress(line: str) -> None:
    """Discard a line."""


def export_checkpoint(
    exporter: Exporter,
    checkpoint: Path,
    folder: Path,
    quantisation: str | None = None,
    progress: Progress = ignore_progress,
) -> ConvertedModel:
    """Convert in `folder`, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ExportOptions(quantisation or exporter.quantisations[0])
    return exporter.convert(checkpoint, folder, options, progress)
