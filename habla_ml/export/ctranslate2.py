"""What Habla loads: a CTranslate2 folder that faster-whisper opens from its path alone, without a network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from habla_ml.errors import ExportError
from habla_ml.export.files import ArtefactFile, compute_artefact_digest, list_artefact_files
from habla_ml.export.prepare import prepare_checkpoint

CTRANSLATE2_FILES = (
    "config.json",
    "model.bin",
    "preprocessor_config.json",
    "tokenizer.json",
    "vocabulary.json",
)

QUANTISATIONS = (
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
)
"""What CTranslate2 stores; a device that cannot compute in it converts when it loads."""


@dataclass(frozen=True)
class CTranslate2Artefact:
    """A converted model.

    Attributes:
        folder: What to give to faster-whisper.
        quantisation: One of `QUANTISATIONS`.
        size_bytes: All files together.
        files: Every file, sorted by path.
        digest: SHA-256 over names and bytes; the same checkpoint and quantisation give the same digest.
        repairs: What was wrong with the checkpoint and was put right before converting.
    """

    folder: Path
    quantisation: str
    size_bytes: int
    files: tuple[ArtefactFile, ...]
    digest: str
    repairs: tuple[str, ...]


def convert_to_ctranslate2(
    checkpoint: Path,
    out: Path,
    quantisation: str = "int8",
    progress: Callable[[str], None] | None = None,
) -> CTranslate2Artefact:
    """Convert a Whisper checkpoint for faster-whisper.

    Args:
        checkpoint: A Transformers folder as the trainer left it; it is prepared on the way.
        out: A folder that does not exist yet; it appears whole or not at all.
        quantisation: How weights are stored, one of `QUANTISATIONS`.
        progress: Told one line for each step.

    Raises:
        ExportError: The quantisation is unknown, the checkpoint cannot be prepared, or the converter failed.
    """
    if quantisation not in QUANTISATIONS:
        raise ExportError(f"Unknown quantisation {quantisation!r}; choose one of {', '.join(QUANTISATIONS)}.")
    if out.exists():
        raise ExportError(f"{out} exists already; an export never writes over anything. Give a new folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        prepared = prepare_checkpoint(checkpoint, Path(scratch) / "checkpoint", progress)
        if progress:
            progress(f"ctranslate2: converting to {quantisation}")
        converted = Path(scratch) / "converted"
        _run_converter(prepared.folder, converted, quantisation)
        files = list_artefact_files(converted)
        if tuple(file.path for file in files) != CTRANSLATE2_FILES:
            raise ExportError(
                f"CTranslate2 wrote {[file.path for file in files]} for {checkpoint}; expected "
                f"{list(CTRANSLATE2_FILES)}. Check the installed version against constraints.txt."
            )
        converted.rename(out)
    size_bytes = sum(file.size_bytes for file in files)
    if progress:
        progress(f"ctranslate2: {size_bytes / 1e6:.1f} MB in {quantisation}")
    return CTranslate2Artefact(
        out, quantisation, size_bytes, files, compute_artefact_digest(files), prepared.repairs
    )


def _run_converter(prepared: Path, out: Path, quantisation: str) -> None:
    from ctranslate2.converters import TransformersConverter

    converter = TransformersConverter(
        str(prepared), copy_files=["tokenizer.json", "preprocessor_config.json"], low_cpu_mem_usage=True
    )
    try:
        converter.convert(str(out), quantization=quantisation)
    except (ValueError, RuntimeError, NotImplementedError, OSError) as failed:
        raise ExportError(
            f"CTranslate2 could not convert the checkpoint to {quantisation}: {failed}. Check the free disk space "
            "and the installed version against constraints.txt."
        ) from failed
