"""A comparison as metadata: numbers that chart, a plot with intervals, tables by version, slice and phenomenon.

Spoken words and hypotheses (examples, confusions, invented text, terms) stay in the report, which an erasure reaches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from habla_ml.defs.presentation import plot, table, to_percent

if TYPE_CHECKING:
    from habla_ml.evaluation.comparison.records import Comparison, ErrorRate
    from habla_ml.evaluation.scoring.statistics import Interval
    from habla_ml.settings import AcceptableSettings


def build_comparison_metadata(comparison: Comparison, acceptable: AcceptableSettings) -> dict[str, Any]:
    """Metadata of a comparison; figures are percentages, so that they chart in points."""
    from habla_ml.evaluation.report.plots import draw_bar_chart
    from habla_ml.evaluation.report.seed_spread import describe_seed_spread

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
        "slices": table(
            (
                {
                    "slice": f"{each.dimension}: {each.name}",
                    "words": each.words,
                    **{rate.model: _format_error_rate(rate.rate) for rate in each.rates},
                    "note": each.too_small or "",
                }
                for each in comparison.slices
                if each.dimension not in ("speaker", "session")  # named in the report, which an erasure reaches
            ),
            ["slice", "words", *(model.name for model in comparison.models), "note"],
        ),
        "side by side": _tabulate_scoreboard(comparison, acceptable),
        "changes": _tabulate_changes(comparison),
        "phenomena": _tabulate_phenomena(comparison),
        "invented text": _tabulate_invented_text(comparison),
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


def _tabulate_scoreboard(comparison: Comparison, acceptable: AcceptableSettings) -> dg.MarkdownMetadataValue:
    """Every metric with what is acceptable and who is better."""
    from habla_ml.evaluation.report.scoreboard import scoreboard

    names = [model.name for model in comparison.models]
    return table(
        (
            {
                "metric": row.metric,
                "acceptable": row.bound,
                **{
                    name: f"{cell.text}, {cell.threshold_status}" if cell.threshold_status else cell.text
                    for name, cell in zip(names, row.cells, strict=True)
                },
                "winner": row.winner,
            }
            for row in scoreboard(comparison, acceptable)
            if row.is_measured
        ),
        ["metric", "acceptable", *names, "winner"],
    )


def _tabulate_changes(comparison: Comparison) -> dg.MarkdownMetadataValue:
    from habla_ml.evaluation.report.figures import NO_VALUE, format_error_reduction, points_with_interval

    return table(
        (
            {
                "of": each.of,
                "against": each.against,
                "errors": format_error_reduction(each.relative_improvement),
                "WER, points": points_with_interval(each.points),
                "missing words, points": points_with_interval(each.deletion_points),
                "general Spanish, points": points_with_interval(each.out_of_domain_points),
                "smallest detectable, points": NO_VALUE
                if each.smallest_detectable_points is None
                else f"{each.smallest_detectable_points:.1f}",
            }
            for each in comparison.changes
        ),
        [
            "of",
            "against",
            "errors",
            "WER, points",
            "missing words, points",
            "general Spanish, points",
            "smallest detectable, points",
        ],
    )


def _tabulate_phenomena(comparison: Comparison) -> dg.MarkdownMetadataValue:
    """Error rates at Andalusian sites and elsewhere; the names of phenomena are ours, not what was said."""
    from habla_ml.evaluation.report.breakdown import PHENOMENON_LABELS, too_small
    from habla_ml.evaluation.report.figures import NO_VALUE, format_error_reduction

    names = [model.name for model in comparison.models]
    rows = []
    for each in comparison.dialect_features:
        small = too_small(each.sessions, each.words, comparison.method)
        rates = {
            rate.model: f"{_format_share(rate.rate)}; elsewhere {_format_share(rate.elsewhere)}; explained {rate.explained}"
            for rate in each.rates
        }
        rows.append(
            {
                "phenomenon": PHENOMENON_LABELS[each.feature],
                "words": each.words,
                **rates,
                "errors": NO_VALUE if small else format_error_reduction(each.improvement),
                "note": small or "",
            }
        )
    return table(rows, ["phenomenon", "words", *names, "errors", "note"])


def _tabulate_invented_text(comparison: Comparison) -> dg.MarkdownMetadataValue:
    from habla_ml.evaluation.report.figures import count_with_share, per_minute

    return table(
        (
            {
                "model": model.name,
                "clips without speech with text": count_with_share(found.non_speech),
                "words a minute there": per_minute(found.non_speech_words_per_minute),
                "short clips with an insertion": count_with_share(found.short_with_insertion),
                "loops": count_with_share(found.loops),
                "stock phrases": count_with_share(found.stock_phrases),
            }
            for model in comparison.models
            if (found := model.hallucination) is not None
        ),
        [
            "model",
            "clips without speech with text",
            "words a minute there",
            "short clips with an insertion",
            "loops",
            "stock phrases",
        ],
    )


def _format_error_rate(rate: ErrorRate | None) -> str:
    if rate is None or rate.value is None:
        return "–"
    return f"{100 * rate.value:.1f}{_format_interval(rate.interval)}"


def _format_error_counts(rate: ErrorRate) -> str:
    return f"{rate.counts.substitutions} / {rate.counts.deletions} / {rate.counts.insertions}"


def _format_share(interval: Interval | None) -> str:
    return "–" if interval is None else f"{100 * interval.value:.1f}{_format_interval(interval)}"


def _format_interval(interval: Interval | None) -> str:
    return "" if interval is None else f" ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
