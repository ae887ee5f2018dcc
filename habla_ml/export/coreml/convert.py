"""Converts the three modules to Core ML packages whose bytes depend only on the checkpoint."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from habla_ml.errors import ExportError
from habla_ml.export.coreml.contract import MODEL_NAMES, ProgramInterface, build_contract, read_model_shape
from habla_ml.export.exporter import Progress
from habla_ml.export.prepare import PreparedCheckpoint, prepare_checkpoint

if TYPE_CHECKING:
    from torch import nn

_PACKAGE_NAMESPACE = uuid.UUID("5f0d9f4e-6d0b-5c1e-9a55-6f2f3f1d7c11")


def convert_to_coreml(checkpoint: Path, out: Path, progress: Progress) -> PreparedCheckpoint:
    """Write a Whisper checkpoint as `<name>.mlpackage` for each of `MODEL_NAMES`.

    Weights and arithmetic are float16. Only the mel spectrogram computes in float32, because its floor of 1e-10
    underflows in float16 and quiet audio would be lost. Needs four times the checkpoint in memory (4 GB for
    whisper-small), so run it in a child process. `out` must not exist; `out/checkpoint` is the prepared checkpoint.

    Raises:
        ExportError: The checkpoint cannot be prepared or converted.
    """
    prepared = prepare_checkpoint(checkpoint, out / "checkpoint", progress)
    interfaces = build_contract(read_model_shape(prepared.folder))
    modules = _load_modules(prepared.folder)
    for name in MODEL_NAMES:
        started_s = time.monotonic()
        package = out / f"{name}.mlpackage"
        _convert_module(modules.pop(name), interfaces[name], package, float32=name == "MelSpectrogram")
        _normalise_package(package)
        size_mb = sum(file.stat().st_size for file in package.rglob("*") if file.is_file()) / 1e6
        progress(f"coreml: {name} {size_mb:.1f} MB in {time.monotonic() - started_s:.1f} s")
    return prepared


def _load_modules(checkpoint: Path) -> dict[str, nn.Module]:
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    from habla_ml.export.coreml.modules import AudioEncoder, MelSpectrogram, TextDecoder

    model = WhisperForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(checkpoint)
    generation = json.loads((checkpoint / "generation_config.json").read_text(encoding="utf-8"))
    return {
        "MelSpectrogram": MelSpectrogram(torch.from_numpy(extractor.mel_filters)).eval(),
        "AudioEncoder": AudioEncoder(model).eval(),
        "TextDecoder": TextDecoder(model, generation["alignment_heads"]).eval(),
    }


def _convert_module(module: nn.Module, interface: ProgramInterface, package: Path, *, float32: bool) -> None:
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
        model = ct.convert(
            traced,
            convert_to="mlprogram",
            inputs=[ct.TensorType(each.name, each.shape, dtype=types[each.dtype]) for each in interface.inputs],
            outputs=[ct.TensorType(each.name, dtype=types[each.dtype]) for each in interface.outputs],
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.precision.FLOAT32 if float32 else ct.precision.FLOAT16,
            skip_model_load=True,
        )
    except (ValueError, RuntimeError, NotImplementedError, TypeError) as failed:
        raise ExportError(
            f"coremltools could not convert {package.stem}: {failed}. Check the installed versions of torch and "
            "coremltools against constraints.txt."
        ) from failed
    model.save(str(package))


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
