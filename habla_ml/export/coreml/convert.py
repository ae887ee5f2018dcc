"""Converts the three modules to Core ML packages whose bytes depend only on the checkpoint."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from habla_ml.errors import ExportError
from habla_ml.export.coreml.quantisation import COREML_QUANTISATIONS
from habla_ml.export.coreml.target import CoreMLTarget
from habla_ml.export.exporter import Progress
from habla_ml.export.prepare import PreparedCheckpoint, prepare_checkpoint
from habla_ml.export.tokenizer_vocabulary import read_tokenizer_vocabulary
from habla_ml.runtimes.interface import (
    PROGRAM_NAMES,
    ProgramInterface,
    build_interfaces,
    read_model_shape,
)

if TYPE_CHECKING:
    from torch import nn

_PACKAGE_NAMESPACE = uuid.UUID("5f0d9f4e-6d0b-5c1e-9a55-6f2f3f1d7c11")


def convert_to_coreml(checkpoint: Path, out: Path, target: CoreMLTarget, progress: Progress) -> PreparedCheckpoint:
    """Write a Whisper checkpoint in float16 as `<name>.mlpackage` for each of `PROGRAM_NAMES`.

    Only the mel spectrogram computes in float32, because its floor of 1e-10 underflows in float16 and quiet
    audio would be lost. Needs four times the checkpoint in memory (4 GB for whisper-small), so run it in a child
    process. `out` must not exist; `out/checkpoint` is the prepared checkpoint.

    Raises:
        ExportError: The checkpoint cannot be prepared or converted, or its tokenizer ends before the timestamps.
    """
    from habla_ml.export.programs.modules import StatefulTextDecoder, load_modules

    prepared = prepare_checkpoint(checkpoint, out / "checkpoint", progress)
    read_tokenizer_vocabulary(prepared.folder / "tokenizer.json").check_timestamps()
    interfaces = build_interfaces(read_model_shape(prepared.folder), is_stateful=target.is_stateful)
    modules = load_modules(prepared.folder, splits_encoder_attention=True)
    if target.is_stateful:
        modules["TextDecoder"] = StatefulTextDecoder(modules["TextDecoder"]).eval()
    for name in PROGRAM_NAMES:
        started_s = time.monotonic()
        precision = "FLOAT32" if name == "MelSpectrogram" else "FLOAT16"
        model = _convert_module(modules.pop(name), interfaces[name], name, target, precision)
        _save_package(model, get_package(out, name), started_s, progress)
    return prepared


def get_package(out: Path, name: str) -> Path:
    """Return the package of a program."""
    return out / f"{name}.mlpackage"


def get_float16_package(out: Path, name: str) -> Path:
    """Return the package of a program before its compression."""
    return out / "float16" / f"{name}.mlpackage"


def compress_program(out: Path, name: str, quantisation: str, kept: tuple[str, ...], progress: Progress) -> None:
    """Write a program of `convert_to_coreml` again with weights of another type, apart from those in `kept`.

    The first call moves the program in float16 to `get_float16_package`.
    """
    from coremltools.models import MLModel

    compress = COREML_QUANTISATIONS[quantisation].compress
    if compress is None:
        return
    started_s = time.monotonic()
    source, package = get_float16_package(out, name), get_package(out, name)
    if source.exists():
        shutil.rmtree(package)
    else:
        source.parent.mkdir(exist_ok=True)
        package.rename(source)
    _save_package(compress(MLModel(str(source), skip_model_load=True), kept), package, started_s, progress)


def _save_package(model: Any, package: Path, started_s: float, progress: Progress) -> None:
    model.save(str(package))
    _normalise_package(package)
    size_mb = sum(file.stat().st_size for file in package.rglob("*") if file.is_file()) / 1e6
    progress(f"coreml: {package.stem} {size_mb:.1f} MB in {time.monotonic() - started_s:.1f} s")


def _convert_module(
    module: nn.Module, interface: ProgramInterface, name: str, target: CoreMLTarget, precision: str
) -> Any:
    import coremltools as ct
    import numpy as np
    import torch

    types = {"float16": np.float16, "int32": np.int32}
    # Modules are traced in float32.
    example_types = {"float16": torch.float32, "int32": torch.int32}
    examples = tuple(torch.zeros(each.shape, dtype=example_types[each.dtype]) for each in interface.inputs)
    with torch.no_grad():
        traced = torch.jit.trace(module, examples, check_trace=False)
    try:
        return ct.convert(
            traced,
            convert_to="mlprogram",
            inputs=[ct.TensorType(each.name, each.shape, dtype=types[each.dtype]) for each in interface.inputs],
            outputs=[ct.TensorType(each.name, dtype=types[each.dtype]) for each in interface.outputs],
            states=[
                ct.StateType(ct.TensorType(shape=each.shape, dtype=types[each.dtype]), each.name)
                for each in interface.states
            ]
            or None,
            minimum_deployment_target=ct.target[f"iOS{target.minimum_ios}"],
            compute_precision=ct.precision[precision],
            skip_model_load=True,
        )
    except (ValueError, RuntimeError, NotImplementedError, TypeError) as failed:
        raise ExportError(
            f"coremltools could not convert {name}: {failed}. Check the installed versions of torch and "
            "coremltools against constraints.txt."
        ) from failed


def _normalise_package(package: Path) -> None:
    """Remove what differs between runs: the date in the specification, random names, the order of map keys."""
    from coremltools.proto import Model_pb2

    path = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    specification = Model_pb2.Model()
    specification.ParseFromString(path.read_bytes())
    specification.description.metadata.userDefined.pop("com.github.apple.coremltools.conversion_date", None)
    path.write_bytes(specification.SerializeToString(deterministic=True))
    manifest_path = package / "Manifest.json"
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    entries = manifest["itemInfoEntries"]
    # An identifier derived from the path that it names replaces each random one.
    renamed = {
        old: str(uuid.uuid5(_PACKAGE_NAMESPACE, f"{package.name}/{entry['path']}")).upper()
        for old, entry in entries.items()
    }
    manifest["itemInfoEntries"] = {renamed[old]: entry for old, entry in entries.items()}
    manifest["rootModelIdentifier"] = renamed[manifest["rootModelIdentifier"]]
    manifest_path.write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n", encoding="utf-8")
