"""Stored comparisons: the evidence behind a version's report, and the WER of earlier versions."""

from __future__ import annotations

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.records import Comparison, read_comparison
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import parent_version


def read_stored_comparison(lake: Lake, version: str) -> Comparison:
    """Return the comparison behind a version's report; raise `EvaluationError` where there is none."""
    pointer = lake.read_pointer(catalogue.REPORT.name(version))
    if pointer is None:
        raise EvaluationError(f"model version {version} has not been evaluated; materialise `wer_report` for it first")
    return read_comparison(lake.get_bytes(pointer.value["comparison"]))


def read_wer_history(lake: Lake, version: str, comparison: Comparison) -> list[tuple[str, Interval]]:
    """Return each version that was scored on the same test set by the same method with its WER, `version` last.

    Replicates with other seeds are left out.
    """
    found: dict[str, Interval] = {}
    for other in catalogue.REPORT.keys(lake):
        if other == version or parent_version(other) is not None:
            continue
        try:
            stored = read_stored_comparison(lake, other)
        except EvaluationError:
            continue  # of an older format
        model = stored.model("candidate")
        same = (stored.test.digest, stored.method) == (comparison.test.digest, comparison.method)
        if same and model is not None and model.wer.interval is not None:
            found[other] = model.wer.interval
    ordered = sorted(found.items(), key=lambda pair: (len(pair[0]), pair[0]))
    present = comparison.model("candidate")
    if present is not None and present.wer.interval is not None:
        ordered.append((version, present.wer.interval))
    return ordered
