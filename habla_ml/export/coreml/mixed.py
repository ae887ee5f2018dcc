"""Compresses the programs, and keeps those weights in float16 that must stay so for the bounds to hold.

The weights are ranked by what their own compression loses, which needs no audio and gives the same order on any machine.
The worst one, two, four and so on stay in float16 until the executed programs are within the bounds. The mean size of a
weight is bounded by the next larger type, which would otherwise be the better choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from habla_ml.export.coreml.convert import compress_program, get_float16_package, get_package
from habla_ml.export.coreml.quantisation import COREML_QUANTISATIONS, CoreMLQuantisation
from habla_ml.export.coreml.verify import verify_coreml
from habla_ml.export.exporter import Progress
from habla_ml.export.programs.parity import ProgramParity, find_parity_problems, measure_parity

if TYPE_CHECKING:
    from habla_ml.runtimes.mil_interpreter import MilProgram

COMPRESSED_PROGRAMS: Final = ("AudioEncoder", "TextDecoder")
_SUFFIXES: Final = ("_palettized", "_quantized")
"""What coremltools adds to the name of a weight that it compresses."""


@dataclass(frozen=True)
class CompressedWeight:
    """A weight of a program, before and after its compression."""

    program: str
    name: str
    compressed_name: str
    n_values: int
    error: float
    """Squared error as a share of the squares of an output channel, averaged over the channels."""


def compress_within_bounds(
    out: Path, checkpoint: Path, quantisation: str, progress: Progress
) -> tuple[ProgramParity, tuple[str, ...]]:
    """Compress the packages of `out`, which are in float16, and return the parity and `program/weight` kept so.

    Where no choice of weights within the allowed size holds the bounds, none is kept and the parity is outside.
    """
    form = COREML_QUANTISATIONS[quantisation]
    for name in COMPRESSED_PROGRAMS:
        compress_program(out, name, quantisation, (), progress)
    parity = verify_coreml(out, checkpoint, progress)
    if form.compress is None or not find_parity_problems(parity, form.bounds):
        return parity, ()
    kept = _find_kept_weights(out, checkpoint, form, progress)
    if kept:
        for name in COMPRESSED_PROGRAMS:
            weights = tuple(each.name for each in kept if each.program == name)
            compress_program(out, name, quantisation, weights, progress)
        parity = verify_coreml(out, checkpoint, progress)
    return parity, tuple(sorted(f"{each.program}/{each.name}" for each in kept))


def _find_kept_weights(
    out: Path, checkpoint: Path, form: CoreMLQuantisation, progress: Progress
) -> tuple[CompressedWeight, ...]:
    """Return the weights to keep, none if no choice within the allowed size holds the bounds.

    They are exchanged in the interpreter, without another compression. Both programs are in one list: what the encoder
    loses also changes the logits.
    """
    from habla_ml.runtimes.mil_interpreter import load_program

    full = {name: load_program(get_float16_package(out, name)) for name in COMPRESSED_PROGRAMS}
    small = {name: load_program(get_package(out, name)) for name in COMPRESSED_PROGRAMS}
    found = [each for name in COMPRESSED_PROGRAMS for each in find_compressed_weights(name, full[name], small[name])]
    ranked = tuple(sorted(found, key=lambda each: (-each.error, each.program, each.name)))
    mel = load_program(get_package(out, "MelSpectrogram"))
    kept: tuple[CompressedWeight, ...] = ()
    while True:
        more = choose_weights(ranked, max(1, 2 * len(kept)), form)
        if len(more) == len(kept):
            progress(f"mixed: more weights in float16 would exceed {form.max_mean_bits:g} bits a weight on average")
            return ()
        kept = more
        progress(f"mixed: {len(kept)} weights in float16")
        programs = {name: _exchange_weights(name, full[name], small[name], kept) for name in COMPRESSED_PROGRAMS}
        parity = measure_parity({**programs, "MelSpectrogram": mel}.__getitem__, checkpoint, progress)
        if not find_parity_problems(parity, form.bounds):
            return kept


def find_compressed_weights(program: str, full: MilProgram, small: MilProgram) -> list[CompressedWeight]:
    """Return the weights that are compressed in `small`."""
    found: list[CompressedWeight] = []
    for name in full.constants:
        for other in (name + suffix for suffix in _SUFFIXES if name + suffix in small.constants):
            weight, compressed = full.constants[name].double().numpy(), small.constants[other].double().numpy()
            axes = tuple(range(1, weight.ndim)) if weight.shape[0] > 1 else (0, *range(2, weight.ndim))
            lost = ((weight - compressed) ** 2).sum(axes) / (weight**2).sum(axes).clip(min=1e-30)
            # Three digits: the order must not depend on how a processor adds.
            found.append(CompressedWeight(program, name, other, weight.size, float(f"{lost.mean():.3g}")))
    return found


def choose_weights(
    ranked: tuple[CompressedWeight, ...], most: int, form: CoreMLQuantisation
) -> tuple[CompressedWeight, ...]:
    """Return the first weights that fit into the allowed size together; one that does not fit is passed over."""
    spare_bits = (form.max_mean_bits - form.bits) * sum(each.n_values for each in ranked)
    chosen: list[CompressedWeight] = []
    for each in ranked:
        bits = (16 - form.bits) * each.n_values
        if len(chosen) < most and bits <= spare_bits:
            chosen.append(each)
            spare_bits -= bits
    return tuple(chosen)


def _exchange_weights(name: str, full: MilProgram, small: MilProgram, kept: tuple[CompressedWeight, ...]) -> MilProgram:
    originals = {each.compressed_name: full.constants[each.name] for each in kept if each.program == name}
    return replace(small, constants={**small.constants, **originals})
