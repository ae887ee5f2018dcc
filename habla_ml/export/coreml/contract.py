"""A check of the saved packages against the interface with which WhisperKit calls them.

The app copies two bytes per output value, so a wrong name or type fails only on the phone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from habla_ml.export.coreml.target import CoreMLTarget
from habla_ml.runtimes.interface import FeatureSpec, ProgramInterface, build_interfaces, read_model_shape

_ARRAY_TYPE_NAMES = {65552: "float16", 65568: "float32", 131104: "int32"}  # ArrayFeatureType.ArrayDataType


def find_contract_problems(models_folder: Path, checkpoint: Path, target: CoreMLTarget) -> list[str]:
    """Return one sentence per difference between the saved packages and the required interface.

    `models_folder` contains a package for each of `PROGRAM_NAMES`, converted from the prepared folder `checkpoint` for
    `target`.
    """
    problems: list[str] = []
    for name, interface in build_interfaces(read_model_shape(checkpoint), is_stateful=target.is_stateful).items():
        package = models_folder / f"{name}.mlpackage"
        if not package.is_dir():
            problems.append(f"{name}: {package} is missing.")
            continue
        problems += [f"{name}: {problem}" for problem in _find_package_problems(package, interface, target)]
    return problems


def _find_package_problems(package: Path, interface: ProgramInterface, target: CoreMLTarget) -> list[str]:
    from coremltools.models.utils import load_spec

    specification = load_spec(str(package))
    problems, version = [], specification.specificationVersion
    if version != target.specification_version:
        problems.append(f"specification version {version}, expected {target.specification_version}.")
    if (kind := specification.WhichOneof("Type")) != "mlProgram":
        problems.append(f"a {kind}, expected an mlProgram.")
    problems += _find_feature_problems("input", specification.description.input, interface.inputs)
    problems += _find_feature_problems("output", specification.description.output, interface.outputs)
    problems += _find_feature_problems("state", specification.description.state, interface.states)
    return problems


def _find_feature_problems(kind: str, saved: Any, expected: tuple[FeatureSpec, ...]) -> list[str]:
    types = {item.name: item.type for item in saved}
    arrays = {
        name: (each.stateType.arrayType if kind == "state" else each.multiArrayType) for name, each in types.items()
    }
    found = {
        name: FeatureSpec(name, tuple(array.shape), _ARRAY_TYPE_NAMES.get(array.dataType, str(array.dataType)))
        for name, array in arrays.items()
    }
    problems = [f"{kind} {name} is not in the contract." for name in found.keys() - {f.name for f in expected}]
    for feature in expected:
        actual = found.get(feature.name)
        if actual is None:
            problems.append(f"{kind} {feature.name} is missing.")
        elif actual != feature:
            problems.append(
                f"{kind} {feature.name} is {actual.dtype} {list(actual.shape)}, expected "
                f"{feature.dtype} {list(feature.shape)}."
            )
    return sorted(problems)
