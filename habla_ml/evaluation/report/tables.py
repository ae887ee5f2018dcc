"""Every table of a report, built once for HTML, Markdown, Dagster and the terminal.

A table without rows means that nothing was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from habla_ml.evaluation.comparison.records import Comparison, ModelScore, Slice
from habla_ml.evaluation.comparison.slices import explain_too_small
from habla_ml.evaluation.metrics.feature_errors import FeatureScore
from habla_ml.evaluation.promotion.advice import Advice
from habla_ml.evaluation.promotion.rule import Decision
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.breakdown import DIALECT_FEATURE_LABELS, DIMENSION_LABELS, describe_conditions
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.plots import round_axis_end
from habla_ml.evaluation.report.scoreboard import ScoreboardRow, list_change_rows
from habla_ml.evaluation.report.sentences import (
    describe_annotators,
    describe_references,
    describe_small_test_set,
    format_seed_spread,
)
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.tables import IntervalBar, TableCell, TableColumn, TextTable

_RESERVED_SPEECH: Final = "Speech reserved for testing, not used in training."
_EXAMPLE_TITLES: Final = {
    "improved": "Largest improvements",
    "regressed": "Largest regressions",
    "worst": "Most remaining errors",
}


def build_scoreboard_table(comparison: Comparison, scoreboard: Sequence[ScoreboardRow]) -> TextTable:
    """Return every measured metric of every model, with its acceptable bound and the winner."""
    roles = {model.name: model.role for model in comparison.models}
    return TextTable.of(
        "Side by side",
        ["Metric", *list_model_columns(comparison.models), TableColumn("Winner", is_numeric=False)],
        [
            [
                TableCell(row.metric, row.bound, help=row.help),
                *row.cells,
                TableCell(row.winner, series=roles[row.winners[0]] if len(row.winners) == 1 else ""),
            ]
            for row in scoreboard
            if row.is_measured
        ],
        is_public=True,
    )


def build_model_table(comparison: Comparison) -> TextTable:
    """Return the error rate of every model and its kinds of errors."""
    axis_end = round_axis_end([model.wer.interval for model in comparison.models])
    return TextTable.of(
        "Versions",
        ["Model", "wrong of 100 words", "substituted", "deleted", "inserted"],
        [
            [
                TableCell(model.name, "" if model.role == model.name else model.role, series=model.role),
                _build_rate_cell(model.wer.interval, axis_end, model.role),
                *(str(getattr(model.word_errors, kind)) for kind in ("substitutions", "deletions", "insertions")),
            ]
            for model in comparison.models
        ],
    )


def build_history_table(content: ReportContent) -> TextTable:
    """Return the WER of every version on this test set."""
    return TextTable.of(
        "WER of each version on this test set",
        ["Version", "WER (95 %)"],
        [[name, figures.share_with_interval(interval)] for name, interval in content.history],
    )


def build_change_table(comparison: Comparison) -> TextTable:
    """Return the paired differences between models: one row for each metric, one column for each pair."""
    roles = {model.name: model.role for model in comparison.models}
    changes = comparison.changes
    rows = [
        ["word errors", *(figures.format_error_reduction(each.relative_improvement) for each in changes)],
        *([metric, *cells] for metric, cells in list_change_rows(comparison)),
        ["smallest detectable WER, points", *(figures.number(each.smallest_detectable_points, 1) for each in changes)],
    ]
    return TextTable.of(
        "Changes",
        ["Metric", *(TableColumn(f"{each.of} against {each.against}", series=roles[each.of]) for each in changes)],
        rows if changes else [],
        is_public=True,
    )


def build_guard_table(decision: Decision) -> TextTable:
    """Return the loss that each guard of the promotion rule checked, its interval, its bound and the result."""
    return TextTable.of(
        "Guards",
        [
            "Guard",
            TableColumn("Against"),
            "Loss in points (95 %)",
            "Allowed",
            TableColumn("Result"),
        ],
        [
            [
                each.label,
                each.against,
                figures.points_with_interval(each.points) if each.points else "not measured",
                f"{each.bound:+g}",
                each.outcome,
            ]
            for each in decision.guards
        ],
        is_public=True,
    )


def build_forecast_table(advice: Advice | None) -> TextTable:
    """Return what more hours of training speech are expected to change."""
    chance = f"chance of removing {figures.percent(advice.worth_removing, 0)} or more" if advice else ""
    return TextTable.of(
        "Expected effect of more hours of training speech, with 80\u00a0% intervals",
        ["More hours", "training hours", "WER", "of today's errors removed", chance],
        [
            [
                f"+{each.more_hours:g} h",
                f"{each.hours:.1f} h",
                figures.share_with_interval(each.wer),
                figures.share_with_interval(each.reduction),
                each.probability_text,
            ]
            for each in (advice.forecasts if advice else ())
        ],
    )


def build_slice_table(
    comparison: Comparison, title: str, slices: Sequence[Slice], *, is_public: bool = False
) -> TextTable:
    """Return the error rates of `slices`; those that are too small are faint."""
    axis_end = round_axis_end([rate.rate.interval for each in slices for rate in each.rates])
    roles = {model.name: model.role for model in comparison.models}
    return TextTable.of(
        title,
        ["Slice", "words", *list_model_columns(comparison.models), TableColumn("word errors", is_numeric=False)],
        [
            [
                TableCell(_name_slice(each), is_faint=bool(each.too_small)),
                TableCell(str(each.words), f"{each.sessions} session{'s' * (each.sessions != 1)}"),
                *(
                    _build_rate_cell(rate.rate.interval, axis_end, roles[rate.model], is_faint=bool(each.too_small))
                    for rate in each.rates
                ),
                TableCell(
                    each.too_small or figures.format_error_reduction(each.improvement), is_faint=bool(each.too_small)
                ),
            ]
            for each in slices
        ],
        is_public=is_public,
    )


def build_dialect_table(comparison: Comparison) -> TextTable:
    """Return the error rates of words with an Andalusian feature and of all other words, without rare features."""
    features = [each for each in comparison.dialect_features if _explain_rare(comparison, each) is None]
    axis_end = round_axis_end([rate.rate for each in features for rate in each.rates])
    roles = {model.name: model.role for model in comparison.models}
    return TextTable.of(
        "Andalusian features",
        [
            "Feature",
            TableColumn("example", is_numeric=False, is_private=True),
            "words",
            *list_model_columns(comparison.models),
            TableColumn("word errors", is_numeric=False),
        ],
        [
            [
                DIALECT_FEATURE_LABELS[each.feature],
                TableCell(each.example, language="es"),
                str(each.words),
                *(
                    _build_rate_cell(
                        rate.rate,
                        axis_end,
                        roles[rate.model],
                        f"other words {figures.percent(rate.elsewhere.value if rate.elsewhere else None)}; "
                        f"dialect {rate.explained} of {rate.errors}",
                        rate.elsewhere,
                    )
                    for rate in each.rates
                ),
                figures.format_error_reduction(each.improvement),
            ]
            for each in features
        ],
        is_public=True,
    )


def list_rare_features(comparison: Comparison) -> tuple[str, ...]:
    """Return each Andalusian feature with too few words for an error rate, and the reason."""
    explained = [(each, _explain_rare(comparison, each)) for each in comparison.dialect_features]
    return tuple(
        f"{DIALECT_FEATURE_LABELS[each.feature]} ({each.example}): {reason}" for each, reason in explained if reason
    )


def _explain_rare(comparison: Comparison, each: FeatureScore) -> str | None:
    return explain_too_small(each.sessions, each.words, comparison.method)


def _name_slice(each: Slice) -> str:
    label = DIMENSION_LABELS.get(each.dimension)
    return f"{label}: {each.name}" if label and each.dimension != "overall" else each.name


def _build_rate_cell(
    rate: Interval | None,
    axis_end: float,
    series: str,
    note: str = "",
    reference: Interval | None = None,
    *,
    is_faint: bool = False,
) -> TableCell:
    bar = None
    if rate is not None:
        bar = IntervalBar(rate.low, rate.value, rate.high, axis_end, series, reference.value if reference else None)
    return TableCell(figures.share_with_interval(rate), note, bar=bar, is_faint=is_faint)


def list_model_columns(models: Sequence[ModelScore]) -> list[TableColumn]:
    """Return one column for each model, in its colour."""
    return [TableColumn(model.name, series=model.role) for model in models]


def build_seed_table(comparison: Comparison) -> TextTable:
    """Return the WER of each training that differs only in its seed."""
    rows = []
    if (found := comparison.seeds) is not None:
        rows = [[each.version, figures.percent(each.wer)] for each in found.runs]
        rows.append(["mean ± standard deviation (range)", format_seed_spread(found)])
    return TextTable.of("WER of each seed", ["Same training, another seed", "WER"], rows)


def build_test_set_table(content: ReportContent) -> TextTable:
    """Return size, conditions, hardware and date."""
    test, few = content.comparison.test, describe_small_test_set(content)
    size = f"{test.utterances} clips, {test.words} words, {test.sessions} sessions, {figures.minutes(test.duration_s)}"
    return _build_property_table(
        "Test set",
        [
            ("Description", f"{content.warning or _RESERVED_SPEECH} All models decode it as they are served."),
            ("Size", f"{size}; {few}" if few else size),
            ("References", describe_references(content.comparison)),
            ("Agreement of people", describe_annotators(content.comparison)),
            ("Languages", ", ".join(dict.fromkeys(model.decoding.language for model in content.comparison.models))),
            ("Conditions", "; ".join(describe_conditions(content.comparison)) or figures.NO_VALUE),
            ("Hardware", content.comparison.provenance.hardware or figures.NO_VALUE),
            ("Date", content.date or figures.NO_VALUE),
        ],
    )


def build_provenance_table(content: ReportContent) -> TextTable:
    """Return the digests, sources and options behind the figures."""
    return _build_property_table("Provenance", list(_list_provenance(content)))


def build_example_table(comparison: Comparison, kind: str) -> TextTable:
    """Return the examples of one kind with the text of each model."""
    examples = [each for each in comparison.examples if each.kind == kind]
    return TextTable.of(
        _EXAMPLE_TITLES[kind],
        [
            TableColumn("Reference", is_numeric=False),
            *(replace(each, is_numeric=False) for each in list_model_columns(comparison.models)),
        ],
        [
            [
                TableCell(each.reference, language="es"),
                *(
                    TableCell(text.text or "(empty)", f"{text.errors} error{'s' * (text.errors != 1)}", language="es")
                    for text in each.hypotheses
                ),
            ]
            for each in examples
        ],
    )


def _list_provenance(content: ReportContent) -> Iterator[tuple[str, str]]:
    comparison = content.comparison
    source = comparison.provenance
    yield "Test set digest", comparison.test.digest
    yield "Snapshot", source.snapshot_id
    yield "Conventions", f"{source.conventions} · {source.conventions_digest}"
    if comparison.method.vocabulary:
        yield "Vocabulary", comparison.method.vocabulary
    for each in source.out_of_domain:
        yield f"General Spanish: {each.name}", figures.describe_speech_source(each)
    for model in comparison.models:
        decoding = model.decoding
        options = f"{decoding.engine}, {decoding.language}, options {decoding.digest()[:12]}"
        yield f"{model.name} ({model.role})", f"{model.artefact_digest} · {options}"
    if content.decision:
        yield "Evidence", content.decision.evidence


def _build_property_table(title: str, rows: Sequence[tuple[str, str]]) -> TextTable:
    return TextTable.of(title, [TableColumn("", is_numeric=False)] * 2, rows)
