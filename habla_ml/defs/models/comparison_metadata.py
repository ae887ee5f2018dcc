"""Dagster metadata of a comparison: numbers that chart, a plot with intervals, and the tables of the report.

Spoken words (examples, confusions, invented texts, terms), speakers and sessions stay in the report, where an erasure
can delete them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from habla_ml.defs.presentation import plot, show_table, table, to_percent

if TYPE_CHECKING:
    from habla_ml.evaluation.comparison.records import Comparison, ErrorRate
    from habla_ml.evaluation.scoring.statistics import Interval
    from habla_ml.settings import AcceptableSettings


def build_comparison_metadata(comparison: Comparison, acceptable: AcceptableSettings) -> dict[str, Any]:
    """Return the metadata of a comparison; rates are percentages, so that they chart in points."""
    from habla_ml.evaluation.report.breakdown import DIMENSION_LABELS
    from habla_ml.evaluation.report.plots import draw_bar_chart
    from habla_ml.evaluation.report.scoreboard import scoreboard
    from habla_ml.evaluation.report.seed_spread import describe_seed_spread
    from habla_ml.evaluation.report.tables import (
        build_change_table,
        build_dialect_table,
        build_hallucination_table,
        build_scoreboard_table,
        build_slice_table,
    )

    candidate, change = comparison.model("candidate"), comparison.change("base")
    found: dict[str, Any] = {
        "versions": table(
            (
                {
                    "model": model.name,
                    "WER %": _format_error_rate(model.wer),
                    "as written %": _format_error_rate(model.orthographic_wer),
                    "CER %": _format_error_rate(model.cer),
                    "general Spanish %": _format_error_rate(model.out_of_domain_wer),
                    "S / D / I": _format_error_counts(model.wer),
                }
                for model in comparison.models
            ),
            ["model", "WER %", "as written %", "CER %", "general Spanish %", "S / D / I"],
        ),
        "slices": show_table(
            build_slice_table(
                comparison, [each for each in comparison.slices if each.dimension in DIMENSION_LABELS]
            )
        ),
        "side by side": show_table(build_scoreboard_table(comparison, scoreboard(comparison, acceptable))),
        "changes": show_table(build_change_table(comparison)),
        "phenomena": show_table(build_dialect_table(comparison, has_examples=False)),
        "invented text": show_table(build_hallucination_table(comparison)),
        "test set": (
            f"{comparison.test.utterances} segments, {comparison.test.sessions} sessions, {comparison.test.words} words"
        ),
        "provenance": dg.MetadataValue.json(
            {**comparison.provenance.model_dump(mode="json"), "test_set": comparison.test.digest}
        ),
        "WER with intervals": plot(
            draw_bar_chart(
                [model.name for model in comparison.models],
                [model.wer.interval for model in comparison.models],
                "WER on the test set, 95 % intervals",
            ),
            "WER",
        ),
    }
    if comparison.seeds is not None:
        found["seeds"] = describe_seed_spread(comparison)
        found["standard deviation over seeds, points"] = round(100 * comparison.seeds.standard_deviation, 2)
    if candidate is not None and candidate.wer.value is not None:
        found["WER %"] = to_percent(candidate.wer.value)
    if change is not None and change.relative_improvement is not None:
        found["relative improvement over base %"] = to_percent(change.relative_improvement.value)
    if candidate is not None and candidate.out_of_domain_wer and candidate.out_of_domain_wer.value is not None:
        found["general Spanish WER %"] = to_percent(candidate.out_of_domain_wer.value)
    return found


def _format_error_rate(rate: ErrorRate | None) -> str:
    if rate is None or rate.value is None:
        return "–"
    return f"{100 * rate.value:.1f}{_format_interval(rate.interval)}"


def _format_error_counts(rate: ErrorRate) -> str:
    return f"{rate.counts.substitutions} / {rate.counts.deletions} / {rate.counts.insertions}"


def _format_interval(interval: Interval | None) -> str:
    return "" if interval is None else f" ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
