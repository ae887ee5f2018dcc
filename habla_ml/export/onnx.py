"""The three programs of a Whisper for onnxruntime: a folder with a file for each, tokenizer and configs.

Names and shapes are those of `habla_ml.runtimes.interface`, with float32 in place of float16. The package
`onnx` is needed for the conversion only; a device needs onnxruntime.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from habla_ml.errors import ExportError
from habla_ml.export.exporter import (
    ArchiveFormat,
    ConvertedModel,
    ExportAsset,
    Exporter,
    ExportOptions,
    Progress,
    SampleDecoding,
)
from habla_ml.export.prepare import COMPANION_FILES, prepare_checkpoint
from habla_ml.export.programs.parity import ParityBounds, find_parity_problems, measure_parity
from habla_ml.export.tokenizer_vocabulary import read_tokenizer_vocabulary
from habla_ml.runtimes.interface import PROGRAM_NAMES, ProgramInterface, build_interfaces, read_model_shape
from habla_ml.runtimes.onnx_program import load_onnx_program

if TYPE_CHECKING:
    from torch import nn

_OPSET: Final = 18
_BOUNDS: Final = {"float32": ParityBounds(80.0, 0.001), "int8": ParityBounds(34.0, 0.15)}


def convert_to_onnx(checkpoint: Path, scratch: Path, options: ExportOptions, progress: Progress) -> ConvertedModel:
    """Convert a Whisper checkpoint for onnxruntime, and run it there; see `Exporter.convert`."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as missing:
        raise ExportError(f"ONNX cannot be written ({missing}); run: pip install 'habla-ml[onnx]'") from missing
    from habla_ml.export.programs.modules import load_modules

    prepared = prepare_checkpoint(checkpoint, scratch / "checkpoint", progress)
    read_tokenizer_vocabulary(prepared.folder / "tokenizer.json").check_timestamps()
    folder = scratch / "model"
    folder.mkdir()
    modules, interfaces = load_modules(prepared.folder), build_interfaces(read_model_shape(prepared.folder))
    for name in PROGRAM_NAMES:
        path = folder / f"{name}.onnx"
        _export_module(modules.pop(name), interfaces[name], path)
        if options.quantisation == "int8" and name != "MelSpectrogram":
            _quantise_to_int8(path, scratch)
        progress(f"onnx: {name} {path.stat().st_size / 1e6:.1f} MB")
    parity = measure_parity(lambda name: load_onnx_program(folder / f"{name}.onnx"), prepared.folder, progress)
    problems = find_parity_problems(parity, _BOUNDS[options.quantisation])
    if problems:
        raise ExportError(
            f"The ONNX programs of {checkpoint} in {options.quantisation} differ too much from it: {' '.join(problems)} "
            "Set export.onnx_quantisation to float32, or check torch and onnxruntime against constraints.txt."
        )
    for name in COMPANION_FILES:
        shutil.copyfile(prepared.folder / name, folder / name)
    return ConvertedModel(folder, prepared.repairs, {"parity": asdict(parity)})


def _export_module(module: nn.Module, interface: ProgramInterface, path: Path) -> None:
    """Write a module whose bytes depend on the checkpoint only."""
    import torch

    types = {"float16": torch.float32, "int32": torch.int32}
    examples = tuple(torch.zeros(each.shape, dtype=types[each.dtype]) for each in interface.inputs)
    # It says of each operation of torchvision that this package is missing; Whisper needs none of them.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch about its own code
            program = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                opset_version=_OPSET,
                input_names=[each.name for each in interface.inputs],
                output_names=[each.name for each in interface.outputs],
                verbose=False,
            )
    except (RuntimeError, ValueError, torch.onnx.errors.OnnxExporterError) as failed:
        raise ExportError(
            f"torch could not convert {path.stem} to ONNX: {failed}. Check the installed versions of torch and "
            "onnxscript against constraints.txt."
        ) from failed
    model = program.model_proto
    # Each node names the lines of source that made it, with the paths of this machine.
    for part in (model.graph, *model.functions):
        for item in (part, *part.node, *part.value_info, *getattr(part, "input", ()), *getattr(part, "output", ())):
            if hasattr(item, "metadata_props"):
                del item.metadata_props[:]
            if hasattr(item, "doc_string"):
                item.doc_string = ""
    path.write_bytes(model.SerializeToString(deterministic=True))


def _quantise_to_int8(path: Path, scratch: Path) -> None:
    """Store int8 weights; onnxruntime quantises the activations of each call ("dynamic quantisation")."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # It advises each time to run its own optimiser first; the exported programs are optimised already.
    logging.getLogger().addFilter(lambda record: "pre-processing before quantization" not in record.getMessage())
    source = path.rename(scratch / path.name)
    quantize_dynamic(source, path, weight_type=QuantType.QUInt8)
    source.unlink()


ONNX: Final = Exporter(
    name="onnx",
    title="ONNX model",
    stored_as="tree",
    quantisations=tuple(_BOUNDS),
    convert=convert_to_onnx,
    configured_quantisation=lambda settings: settings.onnx_quantisation,
    asset=ExportAsset(
        name="onnx_model",
        description=(
            "The checkpoint for onnxruntime: MelSpectrogram, AudioEncoder and TextDecoder, executed there and compared "
            "with the checkpoint."
        ),
        kinds=frozenset({"onnx"}),
        summarise=lambda export: {"encoder PSNR dB": float(export.details["parity"]["encoder_psnr_db"])},
    ),
    describe_archive=lambda export: ArchiveFormat("onnx", parity=export.details["parity"]),
    sample_decoding=SampleDecoding("onnx", overrides={"beam_size": 1}),
)
