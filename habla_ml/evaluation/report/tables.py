"""Every table of a report, built once for HTML, Markdown, Dagster and the terminal.

A table without rows means that nothing was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from habla_ml.evaluation.comparison.records import Comparison, ModelScore, Slice
from habla_ml.evaluation.comparison.slices import explain_too_small
from habla_ml.evaluation.metrics.confusions import Confusion, ModelConfusions
from habla_ml.evaluation.promotion.advice import Advice
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.breakdown import DIALECT_FEATURE_LABELS, DIMENSION_LABELS, describe_conditions
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.scoreboard import ScoreboardRow, list_change_rows
from habla_ml.evaluation.report.sentences import describe_small_test_set, format_seed_spread
from habla_ml.tables import TableCell, TableColumn, TextTable

_MAX_TERMS: Final = 8
_MAX_CONFUSIONS: Final = 10


def build_tables(content: ReportContent, scoreboard: Sequence[ScoreboardRow]) -> dict[str, TextTable]:
    """Return the tables of a report by name."""
    comparison = content.comparison
    return {
        "scoreboard": build_scoreboard_table(comparison, scoreboard),
        "history": TextTable.of(
            "WER of each version on this test set",
            ["Version", "WER (95 %)"],
            [[name, figures.share_with_interval(interval)] for name, interval in content.history],
        ),
        "changes": build_change_table(comparison),
        "seeds": _build_seed_table(comparison),
        "forecasts": build_forecast_table(content.training_advice),
        "slices": build_slice_table(
            comparison,
            [
                each
                for each in comparison.slices
                if each.dimension in DIMENSION_LABELS or (each.dimension == "speaker" and not each.too_small)
            ],
        ),
        "dialect": build_dialect_table(comparison),
        "vocabulary": _build_vocabulary_table(comparison),
        "punctuation": _build_punctuation_table(comparison),
        "invented": build_hallucination_table(comparison),
        "decoding": _build_decoding_table(comparison),
        "word_timing": _build_word_timing_table(comparison),
        "diarisation": _build_diarisation_table(comparison),
        "test_set": _build_test_set_table(content),
        "provenance": _build_property_table("Provenance", list(_list_provenance(content))),
    }


def build_scoreboard_table(comparison: Comparison, scoreboard: Sequence[ScoreboardRow]) -> TextTable:
    """Return every measured metric of every model, with its acceptable bound and the winner."""
    roles = {model.name: model.role for model in comparison.models}
    return TextTable.of(
        "Every metric of every model, with its acceptable bound and the winner",
        ["Metric", *_list_model_columns(comparison.models), TableColumn("Winner", is_numeric=False)],
        [
            [
                TableCell(row.metric, row.bound),
                *row.cells,
                TableCell(row.winner, series=roles[row.winners[0]] if len(row.winners) == 1 else ""),
            ]
            for row in scoreboard
            if row.is_measured
        ],
    )


def build_change_table(comparison: Comparison) -> TextTable:
    """Return the paired differences between models: one row for each metric, one column for each pair."""
    roles = {model.name: model.role for model in comparison.models}
    changes = comparison.changes
    rows = [
        ["word errors", *(figures.format_error_reduction(each.relative_improvement) for each in changes)],
        *([f"{metric}, points", *cells] for metric, cells in list_change_rows(comparison)),
        ["smallest detectable WER, points", *(figures.number(each.smallest_detectable_points, 1) for each in changes)],
    ]
    return TextTable.of(
        "Changes from one model to another",
        ["Metric", *(TableColumn(f"{each.of} against {each.against}", series=roles[each.of]) for each in changes)],
        rows if changes else [],
    )


def build_forecast_table(advice: Advice | None) -> TextTable:
    """Return what more hours of training speech are expected to change."""
    chance = f"chance of removing {figures.percent(advice.worth_removing, 0)} or more" if advice else ""
    return TextTable.of(
        "Expected effect of more hours of training speech",
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


def build_slice_table(comparison: Comparison, slices: Sequence[Slice]) -> TextTable:
    """Return the error rates of `slices`."""
    return TextTable.of(
        "Error rates by slice",
        [
            "Dimension",
            TableColumn("slice", is_numeric=False),
            "words",
            "sessions",
            *_list_model_columns(comparison.models),
            "word errors",
        ],
        [
            [
                DIMENSION_LABELS.get(each.dimension, each.dimension.capitalize()),
                each.name,
                str(each.words),
                str(each.sessions),
                *(figures.share_with_interval(rate.rate.interval) for rate in each.rates),
                each.too_small or figures.format_error_reduction(each.improvement),
            ]
            for each in slices
        ],
    )


def build_dialect_table(comparison: Comparison, *, has_examples: bool = True) -> TextTable:
    """Return the error rates of words with an Andalusian feature, and of all other words."""
    return TextTable.of(
        "Error rates of words with an Andalusian feature",
        ["Feature", "words", *_list_model_columns(comparison.models), "word errors"],
        [
            [
                TableCell(DIALECT_FEATURE_LABELS[each.feature], each.example if has_examples else ""),
                str(each.words),
                *(
                    TableCell(
                        figures.share_with_interval(rate.rate),
                        f"other words {figures.share_with_interval(rate.elsewhere)}; "
                        f"explained {rate.explained} of {rate.errors}",
                    )
                    for rate in each.rates
                ),
                explain_too_small(each.sessions, each.words, comparison.method)
                or figures.format_error_reduction(each.improvement),
            ]
            for each in comparison.dialect_features
        ],
    )


def build_hallucination_table(comparison: Comparison) -> TextTable:
    """Return what every model invents: one row for each figure, one column for each model."""
    models = [model for model in comparison.models if model.hallucination]
    scores = [model.hallucination for model in models if model.hallucination]
    kinds = [each.kind for each in scores[0].kinds] if scores else []
    count, share = figures.count_with_share, figures.share_with_interval
    rows = [
        ["clips without speech that got text", *(count(each.non_speech) for each in scores)],
        *([f"– {kind}", *(count(each.kinds[at].with_output) for each in scores)] for at, kind in enumerate(kinds)),
        [
            "words per minute in them",
            *(figures.number_with_interval(each.non_speech_words_per_minute) for each in scores),
        ],
        ["decoding stopped in them", *(f"{each.non_speech_stopped} clips" for each in scores)],
        ["short clips with an inserted word", *(count(each.short_with_insertion) for each in scores)],
        [
            "inserted words per reference word of short clips",
            *(share(each.short_insertions_per_word) for each in scores),
        ],
        ["loops", *(count(each.loops) for each in scores)],
        ["repetitive texts (compression)", *(count(each.compressed) for each in scores)],
        ["stock phrases that are not in the reference", *(count(each.stock_phrases) for each in scores)],
    ]
    return TextTable.of("Invented text", ["Measure", *_list_model_columns(models)], rows if scores else [])


def build_confusion_tables(found: ModelConfusions) -> list[TextTable]:
    """Return the most frequent confusions of one model: words, sounds, and confusions rarer than with the base."""
    groups = (("Words", found.words), ("Sounds", found.phonemes), ("Rarer than base", found.reduced))
    return [
        TextTable.of(
            title,
            [title, "times", "base"],
            [
                [_build_confusion_cell(each), str(each.count), figures.number(each.base_count)]
                for each in confusions[:_MAX_CONFUSIONS]
            ],
        )
        for title, confusions in groups
        if confusions
    ]


def _build_confusion_cell(each: Confusion) -> TableCell:
    pair = f"{each.reference_token or '∅'} → {each.hypothesis_token or '∅'}"
    return TableCell(pair, " → ".join(each.words or ()), language="es")


def _list_model_columns(models: Sequence[ModelScore]) -> list[TableColumn]:
    return [TableColumn(model.name, series=model.role) for model in models]


def _build_seed_table(comparison: Comparison) -> TextTable:
    rows = []
    if (found := comparison.seeds) is not None:
        rows = [[each.version, figures.percent(each.wer)] for each in found.runs]
        rows.append(["mean ± standard deviation (range)", format_seed_spread(found)])
    return TextTable.of("WER of each seed", ["Same training, another seed", "WER"], rows)


def _build_vocabulary_table(comparison: Comparison) -> TextTable:
    roles = {model.name: model.role for model in comparison.models}
    return TextTable.of(
        "Domain terms",
        ["Model", "recall", "precision", TableColumn("most errors: correct of spoken", is_numeric=False)],
        [
            [
                TableCell(each.model, series=roles[each.model]),
                figures.share_with_interval(each.recall),
                figures.share_with_interval(each.precision),
                ", ".join(
                    f"{term.term} {term.recalled} of {term.reference_count}"
                    + (f" ({term.inserted} inserted)" if term.inserted else "")
                    for term in each.worst[:_MAX_TERMS]
                )
                or "none missed",
            ]
            for each in (comparison.vocabulary.models if comparison.vocabulary else ())
        ],
    )


def _build_punctuation_table(comparison: Comparison) -> TextTable:
    """Return F1 scores: one row for each mark that occurs in a text, one column for each model."""
    models = [model for model in comparison.models if model.punctuation]
    scores = [model.punctuation for model in models if model.punctuation]
    by_mark = [{mark.mark: mark.f1 for mark in each.marks} for each in scores]
    marks = dict.fromkeys(mark for found in by_mark for mark, f1 in found.items() if f1 is not None)
    rows = {
        "all marks": [each.punctuation.f1 for each in scores],
        "capitals": [each.capitals.f1 for each in scores],
        **{mark: [found.get(mark) for found in by_mark] for mark in marks},
    }
    return TextTable.of(
        "F1 of punctuation and capitals",
        ["Mark", *_list_model_columns(models)],
        [[name, *map(figures.share_with_interval, values)] for name, values in rows.items()] if scores else [],
    )


def _build_decoding_table(comparison: Comparison) -> TextTable:
    return TextTable.of(
        "Decoded clips and failures",
        ["Model", "timed clips", "empty outputs", "unusable audio", "timeouts", "crashes", "service errors"],
        [
            [
                TableCell(model.name, series=model.role),
                str(model.timed_clips),
                *(str(count) for count in (failed.empty, failed.audio, failed.timeout, failed.crash, failed.service)),
            ]
            for model in comparison.models
            if (failed := model.failures)
        ],
    )


def _build_word_timing_table(comparison: Comparison) -> TextTable:
    rows: list[list[TableCell | str]] = []
    for model in comparison.models:
        if (found := model.word_timing) is not None:
            edges = [
                TableCell(
                    f"{each.mean_absolute_ms:.0f}\u00a0ms",
                    f"95 % within {each.p95_ms:.0f}\u00a0ms; {each.bias_ms:+.0f}\u00a0ms on average",
                )
                if each
                else figures.NO_VALUE
                for each in (found.starts, found.ends)
            ]
            compared = f"{found.matched_words} of {found.reference_words}"
            name = TableCell(model.name, series=model.role)
            rows.append([name, figures.milliseconds(found.mean_absolute_ms), *edges, compared])
    return TextTable.of(
        "Word times against manual alignments",
        ["Model", "mean absolute error", "of starts", "of ends", "compared words"],
        rows,
    )


def _build_diarisation_table(comparison: Comparison) -> TextTable:
    found = comparison.diarisation
    return TextTable.of(
        "Speaker labels by session",
        ["Session", "speech, s", "missed, s", "false alarm, s", "confusion, s"],
        [
            [
                each.recording,
                *map("{:.1f}".format, (each.speech_s, each.missed_s, each.false_alarm_s, each.confusion_s)),
            ]
            for each in (found.recordings if found else ())
        ],
    )


def _build_test_set_table(content: ReportContent) -> TextTable:
    test, few = content.comparison.test, describe_small_test_set(content)
    size = f"{test.utterances} clips, {test.words} words, {test.sessions} sessions, {figures.minutes(test.duration_s)}"
    return _build_property_table(
        "Test set",
        [
            ("Description", "speech reserved for testing, not used in training; decoded as served"),
            ("Size", f"{size}; {few}" if few else size),
            ("Languages", ", ".join(dict.fromkeys(model.decoding.language for model in content.comparison.models))),
            ("Conditions", "; ".join(describe_conditions(content.comparison)) or figures.NO_VALUE),
            ("Hardware", content.comparison.provenance.hardware or figures.NO_VALUE),
            ("Date", content.date or figures.NO_VALUE),
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
