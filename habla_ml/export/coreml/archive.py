"""The zip the phone downloads: three programs, tokenizer, configs, and a manifest that says what they are."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from habla_ml.errors import ExportError
from habla_ml.export.coreml.contract import (
    MINIMUM_IOS,
    MODEL_NAMES,
    SPECIFICATION_VERSION,
    ModelShape,
    read_model_shape,
)
from habla_ml.export.coreml.process import ConversionResult, run_conversion
from habla_ml.export.coreml.verify import CoreMLParity
from habla_ml.export.files import ArtefactFile, list_artefact_files
from habla_ml.export.tokenizer_vocabulary import WHISPERKIT_VOCAB_SIZES
from habla_ml.lake import compute_sha256

MANIFEST_NAME = "manifest.json"
COMPANION_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)

_MANIFEST_VERSION = 1
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold
_FILE_MODE = 0o100644
_COMPILE_TIMEOUT_S = 600
_LOOK_UP_TIMEOUT_S = 30


@dataclass(frozen=True)
class CoreMLArchive:
    """A finished zip.

    Attributes:
        path: Of the zip.
        size_bytes: Of the zip.
        sha256: Of the zip; the same checkpoint and identity give the same one.
        model_format: `mlpackage`, which an app compiles once with `MLModel.compileModel(at:)`, or `mlmodelc`.
        has_whisperkit_vocab_size: Whether WhisperKit reads its ids rightly; a demo model's vocabulary is smaller.
        vocab_size: The vocabulary's size.
        parity: How near the programs are to the checkpoint.
        files: Everything inside but the manifest.
        repairs: What was put right in the checkpoint before converting.
    """

    path: Path
    size_bytes: int
    sha256: str
    model_format: str
    has_whisperkit_vocab_size: bool
    vocab_size: int
    parity: CoreMLParity
    files: tuple[ArtefactFile, ...]
    repairs: tuple[str, ...]


def build_coreml_archive(
    checkpoint: Path,
    work_dir: Path,
    zip_path: Path,
    identity: Mapping[str, str],
    timeout_s: float = 1800.0,
    progress: Callable[[str], None] | None = None,
) -> CoreMLArchive:
    """Convert a checkpoint in a process of its own, verify it, and zip it for the phone.

    Args:
        checkpoint: A Transformers folder as the trainer left it.
        work_dir: Where intermediate files may lie; nothing is left there. Needs three times the checkpoint.
        zip_path: Does not exist yet; appears whole or not at all.
        identity: Goes into the manifest as it is: model version, snapshot, recipe and so on.
        timeout_s: For the conversion; it is killed after that.
        progress: Told one line for each step.

    Raises:
        ExportError: The checkpoint is refused, or converting fails, takes too long or is not near enough.
    """
    _refuse_to_overwrite(zip_path)
    work_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="coreml-", dir=work_dir) as scratch:
        converted = Path(scratch) / "converted"
        conversion = run_conversion(checkpoint, converted, timeout_s, progress)
        return write_archive(converted, conversion, zip_path, identity, progress)


def write_archive(
    converted: Path,
    conversion: ConversionResult,
    zip_path: Path,
    identity: Mapping[str, str],
    progress: Callable[[str], None] | None = None,
) -> CoreMLArchive:
    """Compile what was converted if this machine can, and zip it.

    Args:
        converted: What `run_conversion` filled; the programs are moved out of it.
        conversion: What it found out.
        zip_path: Does not exist yet; appears whole or not at all.
        identity: Goes into the manifest as it is.
        progress: Told one line for each step.

    Raises:
        ExportError: The zip exists already, or Apple's compiler failed.
    """
    _refuse_to_overwrite(zip_path)
    report = progress or (lambda _line: None)
    content = converted / "archive"
    content.mkdir()
    model_format = _add_models(converted, content, report)
    for name in COMPANION_FILES:
        shutil.copyfile(converted / "checkpoint" / name, content / name)
    shape = read_model_shape(converted / "checkpoint")
    files = list_artefact_files(content)
    manifest = _build_archive_manifest(shape, model_format, conversion, files, identity)
    (content / MANIFEST_NAME).write_text(
        json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    zip_path.parent.mkdir(parents=True, exist_ok=True)
    partial = zip_path.with_name(f".{zip_path.name}.partial")
    try:
        _write_zip(content, partial)
        partial.replace(zip_path)
    finally:
        partial.unlink(missing_ok=True)
    size_bytes = zip_path.stat().st_size
    report(f"archive: {zip_path.name}, {size_bytes / 1e6:.1f} MB, holds .{model_format}")
    return CoreMLArchive(
        path=zip_path,
        size_bytes=size_bytes,
        sha256=compute_sha256(zip_path),
        model_format=model_format,
        has_whisperkit_vocab_size=shape.vocab_size in WHISPERKIT_VOCAB_SIZES,
        vocab_size=shape.vocab_size,
        parity=conversion.parity,
        files=files,
        repairs=conversion.repairs,
    )


def _refuse_to_overwrite(zip_path: Path) -> None:
    if zip_path.exists():
        raise ExportError(f"{zip_path} exists already; an export never writes over anything. Give a new name.")


def _add_models(converted: Path, content: Path, report: Callable[[str], None]) -> str:
    """Compile the programs into the archive's folder where Apple's compiler is, else move the packages there."""
    compiler_found = _has_compiler()
    for name in MODEL_NAMES:
        package = converted / f"{name}.mlpackage"
        if not compiler_found:
            package.rename(content / package.name)
            continue
        report(f"archive: compiling {name}")
        done = subprocess.run(
            ["xcrun", "coremlcompiler", "compile", str(package), str(content)],
            capture_output=True,
            text=True,
            timeout=_COMPILE_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0 or not (content / f"{name}.mlmodelc").is_dir():
            raise ExportError(
                f"xcrun coremlcompiler could not compile {package.name} (status {done.returncode}): "
                f"{(done.stderr or done.stdout).strip()}. Check the Xcode installation with `xcodebuild -version`."
            )
    return "mlmodelc" if compiler_found else "mlpackage"


def _has_compiler() -> bool:
    if shutil.which("xcrun") is None:
        return False
    found = subprocess.run(
        ["xcrun", "--find", "coremlcompiler"], capture_output=True, timeout=_LOOK_UP_TIMEOUT_S, check=False
    )
    return found.returncode == 0


def _build_archive_manifest(
    shape: ModelShape,
    model_format: str,
    conversion: ConversionResult,
    files: tuple[ArtefactFile, ...],
    identity: Mapping[str, str],
) -> dict[str, Any]:
    parity = {
        key: value if isinstance(value, int) else float(f"{value:.3g}")
        for key, value in asdict(conversion.parity).items()
    }
    return {
        "manifest_version": _MANIFEST_VERSION,
        "identity": dict(identity),
        "model_format": model_format,
        "must_be_compiled_by_the_app": model_format == "mlpackage",
        "specification_version": SPECIFICATION_VERSION,
        "minimum_ios": f"{MINIMUM_IOS}.0",
        "precision": "float16, MelSpectrogram float32 inside",
        "models": list(MODEL_NAMES),
        "vocab_size": shape.vocab_size,
        "has_whisperkit_vocab_size": shape.vocab_size in WHISPERKIT_VOCAB_SIZES,
        "parity": parity,
        "mended": list(conversion.repairs),
        "files": [asdict(file) for file in files],
    }


def _write_zip(content: Path, path: Path) -> None:
    """Store files by name with one date and mode; nothing is deflated, as float16 weights do not shrink."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(content.rglob("*"), key=lambda file: file.relative_to(content).as_posix()):
            if not file.is_file():
                continue
            entry = zipfile.ZipInfo(file.relative_to(content).as_posix(), _ZIP_EPOCH)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = _FILE_MODE << 16
            entry.file_size = file.stat().st_size
            with file.open("rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)
