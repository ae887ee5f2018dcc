"""`python -m habla_ml.export.coreml CHECKPOINT OUT`: convert, check the interface, verify the results."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from habla_ml.errors import ExportError, HablaError
from habla_ml.export.coreml.process import ConversionResult, format_error, write_result
from habla_ml.export.coreml.quantisation import COREML_QUANTISATIONS
from habla_ml.export.coreml.target import COREML_TARGETS, CoreMLTarget
from habla_ml.process import die_with_parent


def _convert_and_verify(checkpoint: Path, out: Path, quantisation: str, target: str) -> None:
    from habla_ml.export.coreml.convert import convert_to_coreml
    from habla_ml.export.coreml.mixed import compress_within_bounds
    from habla_ml.export.programs.parity import find_parity_problems

    def progress(line: str) -> None:
        print(line, flush=True)

    prepared = convert_to_coreml(checkpoint, out, COREML_TARGETS[target], progress)
    _check_contract(out, prepared.folder, COREML_TARGETS[target])
    progress("contract: every input and output has the expected name, shape and type")
    parity, kept = compress_within_bounds(out, prepared.folder, quantisation, progress)
    _check_contract(out, prepared.folder, COREML_TARGETS[target])
    problems = find_parity_problems(parity, COREML_QUANTISATIONS[quantisation].bounds)
    if problems:
        raise ExportError(
            f"The Core ML programs of {checkpoint} in {quantisation} differ too much from it: {' '.join(problems)} "
            + (
                "Do not release them; check the installed versions of torch and coremltools against constraints.txt."
                if quantisation == "float16"
                else "Set export.coreml_quantisation to a larger type."
            )
        )
    write_result(out, ConversionResult(quantisation, target, parity, prepared.repairs, kept))


def _check_contract(out: Path, prepared: Path, target: CoreMLTarget) -> None:
    from habla_ml.export.coreml.contract import find_contract_problems

    problems = find_contract_problems(out, prepared, target)
    if problems:
        raise ExportError(
            f"An app cannot call the programs of {out}: {' '.join(problems)} Check the installed version of coremltools "
            "against constraints.txt."
        )


def main() -> int:
    """Run the conversion. After an error the status is 1 and standard error ends with one line that explains it."""
    parser = argparse.ArgumentParser(prog="python -m habla_ml.export.coreml", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a Transformers Whisper folder, adapters merged")
    parser.add_argument("out", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--quantisation", choices=COREML_QUANTISATIONS, default="float16", help="type of the weights")
    parser.add_argument("--target", choices=COREML_TARGETS, default="iOS16", help="oldest system that loads them")
    parser.add_argument("--parent-pid", type=int, help="process to end with")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        if arguments.parent_pid is not None:
            die_with_parent(arguments.parent_pid)
        _convert_and_verify(arguments.checkpoint, arguments.out, arguments.quantisation, arguments.target)
    except HablaError as error:
        print(format_error(error), file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
