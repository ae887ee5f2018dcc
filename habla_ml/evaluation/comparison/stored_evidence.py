"""Stored comparisons: the evidence behind a version's report."""

from __future__ import annotations

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.records import Comparison, read_comparison
from habla_ml.lake import Lake, catalogue


def read_stored_comparison(lake: Lake, version: str) -> Comparison:
    """Return the comparison behind a version's report; raise `EvaluationError` where there is none."""
    pointer = lake.read_pointer(catalogue.REPORT.name(version))
    if pointer is None:
        raise EvaluationError(f"model version {version} has not been evaluated; materialise `wer_report` for it first")
    return read_comparison(lake.get_bytes(pointer.value["comparison"]))
