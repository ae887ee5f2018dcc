"""The zip that the phone downloads: three programs, tokenizer, configs, and a manifest that describes them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from habla_ml.errors import ExportError
from habla_ml.export.coreml.process import ConversionResult, run_conversion
from habla_ml.export.coreml.quantisation import COREML_QUANTISATIONS
from habla_ml.export.coreml.target import COREML_TARGETS
from habla_ml.export.exporter import (
    ArchiveFormat,
    ConvertedModel,
    ExportAsset,
    Exporter,
    ExportOptions,
    Progress,
    PublishedExport,
    SampleDecoding,
)
from habla_ml.export.prepare import COMPANION_FILES
from habla_ml.export.tokenizer_vocabulary import WHISPERKIT_VOCAB_SIZES
from habla_ml.export.zip_folder import list_folder, zip_folder
from habla_ml.lake import compute_sha256
from habla_ml.runtimes.interface import PROGRAM_NAMES, read_model_shape

_FILE_MODE = 0o100644
_COMPILE_TIMEOUT_S = 600
_FIND_TIMEOUT_S = 30


def build_coreml_archive(checkpoint: Path, scratch: Path, options: ExportOptions, progress: Progress) -> ConvertedModel:
    """Convert a checkpoint in a child process, verify it, and zip it for the phone; see `Exporter.convert`.

    Needs three times the checkpoint's size on disk. The same checkpoint, quantisation and origin
    give the same bytes with any number of threads.
    """
    converted = scratch / "converted"
    target = options.target or next(iter(COREML_TARGETS))
    conversion = run_conversion(checkpoint, converted, options.timeout_s, progress, options.quantisation, target)
    return write_archive(converted, conversion, scratch / "archive.zip", options.origin, progress)


def write_archive(
    converted: Path, conversion: ConversionResult, zip_path: Path, origin: Mapping[str, str], progress: Progress
) -> ConvertedModel:
    """Zip the converted programs, compiled where Apple's compiler is installed.

    `run_conversion` filled the folder `converted`; the programs are moved out of it. The manifest contains `origin`, and
    nothing that was measured: its last digits depend on the machine. The parity is in the returned details.

    Raises:
        ExportError: Apple's compiler failed.
    """
    content = converted / "archive"
    content.mkdir()
    model_format = _add_models(converted, content, progress)
    for name in COMPANION_FILES:
        shutil.copyfile(converted / "checkpoint" / name, content / name)
    vocab_size = read_model_shape(converted / "checkpoint").vocab_size
    content_details: dict[str, Any] = {
        "model_format": model_format,
        "vocab_size": vocab_size,
        "has_whisperkit_vocab_size": vocab_size in WHISPERKIT_VOCAB_SIZES,
        "files": [
            {"path": name, "size_bytes": path.stat().st_size, "sha256": compute_sha256(path)}
            for name, path in list_folder(content)
        ],
    }
    target = COREML_TARGETS[conversion.target]
    manifest = {
        **content_details,
        "manifest_version": 2,
        "identity": dict(origin),
        "must_be_compiled_by_the_app": model_format == "mlpackage",
        "specification_version": target.specification_version,
        "minimum_ios": f"{target.minimum_ios}.0",
        "has_stateful_decoder": target.is_stateful,
        "quantisation": conversion.quantisation,
        "kept_in_float16": list(conversion.kept_in_float16),
        "precision": "float16, MelSpectrogram float32 inside",
        "models": list(PROGRAM_NAMES),
        "mended": list(conversion.repairs),
    }
    (content / "manifest.json").write_text(
        json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    details = {
        **content_details,
        "parity": asdict(conversion.parity),
        "kept_in_float16": list(conversion.kept_in_float16),
    }
    progress(f"coreml: packing the archive of .{model_format}")
    return ConvertedModel(zip_folder(content, zip_path, _FILE_MODE), conversion.repairs, details)


def _add_models(converted: Path, content: Path, progress: Progress) -> str:
    """Put the programs into the archive's folder, compiled if possible; return their form."""
    find = ["xcrun", "--find", "coremlcompiler"]
    has_compiler = shutil.which("xcrun") is not None and (
        subprocess.run(find, capture_output=True, timeout=_FIND_TIMEOUT_S, check=False).returncode == 0
    )
    for name in PROGRAM_NAMES:
        package = converted / f"{name}.mlpackage"
        if not has_compiler:
            package.rename(content / package.name)
            continue
        progress(f"coreml: compiling {name}")
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
    return "mlmodelc" if has_compiler else "mlpackage"


def _summarise(export: PublishedExport) -> dict[str, str | bool | float]:
    return {
        "format": export.details["model_format"],
        "oldest system": export.target or "",
        "weights kept in float16": str(len(export.details.get("kept_in_float16", []))),
        "must be compiled by the app": export.details["model_format"] == "mlpackage",
        "WhisperKit reads this vocabulary": export.details["has_whisperkit_vocab_size"],
        "encoder PSNR dB": float(export.details["parity"]["encoder_psnr_db"]),
    }


def _describe_archive(export: PublishedExport) -> ArchiveFormat:
    target = COREML_TARGETS[export.target or next(iter(COREML_TARGETS))]
    return ArchiveFormat(
        export.details["model_format"],
        target.specification_version,
        f"{target.minimum_ios}.0",
        export.details.get("parity"),
    )


COREML: Final = Exporter(
    name="coreml",
    title="Core ML archive",
    stored_as="archive",
    quantisations=tuple(COREML_QUANTISATIONS),
    convert=build_coreml_archive,
    configured_quantisation=lambda settings: settings.coreml_quantisation,
    targets=tuple(COREML_TARGETS),
    configured_target=lambda settings: settings.coreml_target,
    asset=ExportAsset(
        name="coreml_zip",
        description=(
            "The checkpoint as a phone loads it: MelSpectrogram, AudioEncoder and TextDecoder with WhisperKit's "
            "interface, converted in a child process. The saved programs are read back, checked and executed against "
            "the checkpoint."
        ),
        kinds=frozenset({"coreml"}),
        summarise=_summarise,
    ),
    describe_archive=_describe_archive,
    sample_decoding=SampleDecoding("coreml", "phone", is_emulated=True),
)
