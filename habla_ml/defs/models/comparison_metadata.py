"""Dagster metadata of a comparison: numbers that chart, a plot with intervals, and the tables of the report.

Spoken words (examples, confusions, invented texts, terms), speakers and sessions stay in the report, where an erasure
can delete them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from habla_ml.defs.plots import plot_intervals
from habla_ml.defs.presentation import bullet_list, show_table, to_percent
from habla_ml.defs.result_metadata import build_result_metadata

_SHOWN_DIGITS = 8
_PLOTS: Final = ("WER with intervals", "WER by version")
_NEXT_STEPS: Final = {
    "deploy": "nothing: `cdn_release` decides again and publishes the version; open the report for the reasons",
    "keep": "nothing: the released version stays; read why, and correct more speech for the next version",
    "collect_more": "correct more speech: the evidence does not suffice to release or to refuse the version",
    "refuse": "read why: the version is not released; correct more speech, or sign an override (docs/decide.md)",
    "": "open the file at `report` on this machine",
}
"""By verdict; empty without a decision."""

if TYPE_CHECKING:
    from habla_ml.evaluation.comparison.records import Comparison
    from habla_ml.evaluation.run import Evaluation
    from habla_ml.settings import AcceptableSettings


def build_evaluation_metadata(
    what: str,
    evaluation: Evaluation,
    acceptable: AcceptableSettings,
    *,
    page: Mapping[str, dg.MetadataValue],
    details: Mapping[str, Any],
) -> dict[str, dg.MetadataValue]:
    """Return the metadata of a report: the decision and its reasons, if there is one, and the comparison."""
    from habla_ml.evaluation.report.figures import share_with_interval
    from habla_ml.evaluation.report.tables import build_guard_table

    decision, comparison = evaluation.decision, evaluation.comparison
    decided: dict[str, Any] = {}
    if decision:
        decided = {
            "verdict": decision.verdict,
            "why": bullet_list(decision.reasons),
            "guards": show_table(build_guard_table(decision)),
        }
    shown = build_comparison_metadata(comparison, acceptable)
    result = {f"WER of {model.name}": share_with_interval(model.wer.interval) for model in comparison.models}
    return build_result_metadata(
        what,
        {
            "verdict": decision.verdict if decision else "none: no version is decided on",
            **result,
            "test segments": comparison.test.utterances,
        },
        _NEXT_STEPS[decision.verdict if decision else ""],
        page=page,
        details={
            **{name: shown[name] for name in _PLOTS if name in shown},
            **decided,
            **shown,
            "clips decoded now": evaluation.newly_decoded,
            "report": evaluation.files.html,
            **details,
        },
    )


def build_comparison_metadata(comparison: Comparison, acceptable: AcceptableSettings) -> dict[str, Any]:
    """Return the metadata of a comparison; rates are percentages, so that they chart in points."""
    from habla_ml.evaluation.report.content import ReportContent
    from habla_ml.evaluation.report.sections import list_public_tables

    tables = list_public_tables(ReportContent(comparison, acceptable=acceptable))
    return {
        _PLOTS[0]: plot_intervals(
            [(model.name, model.wer.interval) for model in comparison.models], "WER, 95 % intervals"
        ),
        **_plot_versions(comparison),
        **{name: show_table(table) for name, table in tables.items()},
        "test set": (
            f"{comparison.test.utterances} segments, {comparison.test.sessions} sessions, {comparison.test.words} words"
        ),
        **_list_charted_figures(comparison),
        "provenance": {**comparison.provenance.model_dump(mode="json"), "test_set": comparison.test.digest},
    }


def _plot_versions(comparison: Comparison) -> dict[str, Any]:
    """Return a plot of every version on this test set; none with fewer than two versions."""
    from habla_ml.evaluation.report.content import ReportContent

    history = ReportContent(comparison).history
    if len(history) < 2:
        return {}
    return {_PLOTS[1]: plot_intervals(history, "WER of each version on this test set")}


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
