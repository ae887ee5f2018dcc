"""The checkpoint itself for engineers: a complete Transformers folder, checked as for every other format."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from habla_ml.export.exporter import ArchiveFormat, ConvertedModel, ExportAsset, Exporter, ExportOptions, Progress
from habla_ml.export.prepare import prepare_checkpoint


def copy_checkpoint(checkpoint: Path, scratch: Path, _: ExportOptions, progress: Progress) -> ConvertedModel:
    """Write the checked and repaired copy that the other formats are made from; see `Exporter.convert`."""
    prepared = prepare_checkpoint(checkpoint, scratch / "model", progress)
    return ConvertedModel(prepared.folder, prepared.repairs)


TRANSFORMERS: Final = Exporter(
    name="transformers",
    title="Transformers checkpoint",
    stored_as="tree",
    quantisations=("float32",),
    convert=copy_checkpoint,
    configured_quantisation=lambda settings: "float32" if settings.checkpoint_archive else None,
    asset=ExportAsset(
        name="transformers_model",
        description=(
            "The checkpoint as Transformers loads it from its path alone: weights in one file, configs, tokenizer and "
            "feature extractor."
        ),
        kinds=frozenset({"huggingface"}),
    ),
    describe_archive=lambda _: ArchiveFormat("transformers"),
)
