"""Dagster metadata of a comparison: numbers that chart, a plot with intervals, and the tables of the report.

Spoken words (examples, confusions, invented texts, terms), speakers and sessions stay in the report, where an erasure
can delete them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from habla_ml.defs.presentation import bullet_list, plot, show_table, to_percent

_SHOWN_DIGITS = 8

if TYPE_CHECKING:
    from habla_ml.evaluation.comparison.records import Comparison
    from habla_ml.evaluation.run import Evaluation
    from habla_ml.settings import AcceptableSettings


def build_evaluation_metadata(evaluation: Evaluation, acceptable: AcceptableSettings) -> dict[str, Any]:
    """Return the decision and its reasons, if there is one, the report, and the metadata of the comparison."""
    from habla_ml.evaluation.report.tables import build_guard_table

    decision = evaluation.decision
    decided: dict[str, Any] = {}
    if decision:
        decided = {
            "verdict": decision.verdict,
            "why": bullet_list(decision.reasons),
            "guards": show_table(build_guard_table(decision)),
        }
    return {
        **decided,
        "clips decoded now": evaluation.newly_decoded,
        "report": dg.MetadataValue.path(evaluation.files.html),
        **build_comparison_metadata(evaluation.comparison, acceptable),
    }


def build_comparison_metadata(comparison: Comparison, acceptable: AcceptableSettings) -> dict[str, Any]:
    """Return the metadata of a comparison; rates are percentages, so that they chart in points."""
    from habla_ml.evaluation.report.content import ReportContent
    from habla_ml.evaluation.report.plots import draw_bar_chart
    from habla_ml.evaluation.report.sections import list_public_tables

    tables = list_public_tables(ReportContent(comparison, acceptable=acceptable))
    return {
        **{name: show_table(table) for name, table in tables.items()},
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
        **_plot_versions(comparison),
        **_list_charted_figures(comparison),
    }


def _plot_versions(comparison: Comparison) -> dict[str, Any]:
    """Return a plot of every version on this test set; none with fewer than two versions."""
    from habla_ml.evaluation.report.content import ReportContent
    from habla_ml.evaluation.report.plots import draw_bar_chart

    history = ReportContent(comparison).history
    if len(history) < 2:
        return {}
    names, intervals = zip(*history, strict=True)
    return {"versions": plot(draw_bar_chart(names, intervals, "WER of each version on this test set"), "versions")}


def _list_charted_figures(comparison: Comparison) -> dict[str, Any]:
    """Return the figures that the UI charts over all runs and versions.

    A name has the first digits of the set that it was measured on, so that no curve mixes two sets.
    """
    from habla_ml.evaluation.metrics.error_rates import OUT_OF_DOMAIN_WER
    from habla_ml.evaluation.report.sentences import describe_reuse, describe_seed_spread

    candidate, change = comparison.model("candidate"), comparison.change("base")
    test = f"on test set {comparison.test.digest[:_SHOWN_DIGITS]}"
    found: dict[str, Any] = {}
    if comparison.reuse is not None:
        found["looks at the test set"] = describe_reuse(comparison)
    if comparison.seeds is not None:
        found["seeds"] = describe_seed_spread(comparison)
        found["standard deviation over seeds, points"] = round(100 * comparison.seeds.standard_deviation, 2)
    if candidate is not None and candidate.wer.value is not None:
        found[f"WER % {test}"] = to_percent(candidate.wer.value)
    if change is not None and change.relative_improvement is not None:
        found[f"relative improvement over base % {test}"] = to_percent(change.relative_improvement.value)
    if candidate is not None and (general := candidate.metrics.get(OUT_OF_DOMAIN_WER.name)) is not None:
        of = comparison.out_of_domain
        measured_on = f" on set {of.digest[:_SHOWN_DIGITS]}" if of else ""
        found[f"general Spanish WER %{measured_on}"] = to_percent(general.value)
    return found
