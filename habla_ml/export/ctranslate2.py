"""The format that Habla serves: a CTranslate2 folder that faster-whisper opens from its path, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from habla_ml.errors import ExportError
from habla_ml.export.exporter import ArchiveFormat, ConvertedModel, ExportAsset, Exporter, ExportOptions, Progress
from habla_ml.export.prepare import prepare_checkpoint

_CTRANSLATE2_FILES = ["config.json", "model.bin", "preprocessor_config.json", "tokenizer.json", "vocabulary.json"]
QUANTISATIONS = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")
"""Weight types that CTranslate2 stores. A device that cannot compute in one converts the weights on loading."""


def convert_to_ctranslate2(
    checkpoint: Path, scratch: Path, options: ExportOptions, progress: Progress
) -> ConvertedModel:
    """Convert a Whisper checkpoint for faster-whisper; see `Exporter.convert`."""
    from ctranslate2.converters import TransformersConverter

    prepared = prepare_checkpoint(checkpoint, scratch / "checkpoint", progress)
    progress(f"ctranslate2: converting to {options.quantisation}")
    model = scratch / "model"
    converter = TransformersConverter(
        str(prepared.folder), copy_files=["tokenizer.json", "preprocessor_config.json"], low_cpu_mem_usage=True
    )
    try:
        converter.convert(str(model), quantization=options.quantisation)
    except (ValueError, RuntimeError, NotImplementedError, OSError) as failed:
        raise ExportError(
            f"CTranslate2 could not convert the checkpoint to {options.quantisation}: {failed}. Check the free disk "
            "space and the installed version against constraints.txt."
        ) from failed
    files = sorted(path.name for path in model.iterdir())
    if files != _CTRANSLATE2_FILES:
        raise ExportError(
            f"CTranslate2 wrote {files} for {checkpoint}; expected {_CTRANSLATE2_FILES}. Check the installed "
            "version against constraints.txt."
        )
    return ConvertedModel(model, prepared.repairs)


CTRANSLATE2: Final = Exporter(
    name="ctranslate2",
    title="CTranslate2 model",
    stored_as="tree",
    quantisations=QUANTISATIONS,
    convert=convert_to_ctranslate2,
    configured_quantisation=lambda settings: settings.ctranslate2_quantisation,
    asset=ExportAsset(
        name="ctranslate2_model",
        description=(
            "The checkpoint as Habla loads it: a CTranslate2 folder with tokenizer and feature extractor inside, so "
            "that faster-whisper and WhisperX open it from its path alone."
        ),
        kinds=frozenset({"ctranslate2"}),
        path_label="set WHISPER_MODEL to",
    ),
    describe_archive=lambda _: ArchiveFormat("ctranslate2"),
)
