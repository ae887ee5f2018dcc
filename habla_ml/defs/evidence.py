"""A comparison as metadata: numbers that chart, a plot with intervals, tables by version and slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from habla_ml.defs.presentation import percent, plot, table

if TYPE_CHECKING:
    from habla_ml.evaluation.comparison import Comparison, Rate
    from habla_ml.evaluation.statistics import Interval


def present_comparison(comparison: Comparison) -> dict[str, Any]:
    """Metadata of a comparison; figures are percentages, so that they chart in points."""
    from habla_ml.evaluation.report.plots import bars_with_intervals

    candidate, change = comparison.model("candidate"), comparison.change("base")
    found: dict[str, Any] = {
        "versions": table(
            (
                {
                    "model": model.name,
                    "WER %": _rate(model.wer),
                    "as written %": _rate(model.orthographic_wer),
                    "CER %": _rate(model.cer),
                    "general Spanish %": _rate(model.out_of_domain_wer),
                    "S / D / I": _counts(model.wer),
                }
                for model in comparison.models
            ),
            ["model", "WER %", "as written %", "CER %", "general Spanish %", "S / D / I"],
        ),
        "slices": table(
            (
                {
                    "slice": f"{each.dimension}: {each.name}",
                    "words": each.words,
                    **{rate.model: _rate(rate.rate) for rate in each.rates},
                    "note": each.too_small or "",
                }
                for each in comparison.slices
                if each.dimension not in ("speaker", "session")  # named in the report, which an erasure reaches
            ),
            ["slice", "words", *(model.name for model in comparison.models), "note"],
        ),
        "test set": (
            f"{comparison.test.utterances} segments, {comparison.test.sessions} sessions, {comparison.test.words} words"
        ),
        "provenance": dg.MetadataValue.json(
            {**comparison.provenance.model_dump(mode="json"), "test_set": comparison.test.digest}
        ),
        "WER with intervals": plot(
            bars_with_intervals(
                [model.name for model in comparison.models],
                [model.wer.interval for model in comparison.models],
                "WER on the test set, 95 % intervals",
            ),
            "WER",
        ),
    }
    if candidate is not None and candidate.wer.value is not None:
        found["WER %"] = percent(candidate.wer.value)
    if change is not None and change.relative_improvement is not None:
        found["relative improvement over base %"] = percent(change.relative_improvement.value)
    if candidate is not None and candidate.out_of_domain_wer and candidate.out_of_domain_wer.value is not None:
        found["general Spanish WER %"] = percent(candidate.out_of_domain_wer.value)
    return found


def _rate(rate: Rate | None) -> str:
    if rate is None or rate.value is None:
        return "–"
    return f"{percent(rate.value)}{_interval(rate.interval)}"


def _counts(rate: Rate) -> str:
    return f"{rate.counts.substitutions} / {rate.counts.deletions} / {rate.counts.insertions}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f" ({percent(interval.low)} to {percent(interval.high)})"
