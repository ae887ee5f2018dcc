"""Tables of single measurements: invented text, confusions, terms, punctuation, failures, word times, speaker labels.

A table without rows means that nothing was measured.
"""

from __future__ import annotations

from typing import Final

from habla_ml.evaluation.comparison.records import Comparison, ModelScore
from habla_ml.evaluation.metrics.confusions import Confusion, ModelConfusions
from habla_ml.evaluation.metrics.term_recall import TermScore
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.tables import list_model_columns
from habla_ml.tables import TableCell, TableColumn, TextTable

_MAX_TERMS: Final = 8
_MAX_CONFUSIONS: Final = 10


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
    columns: list[str | TableColumn] = ["Measure", *list_model_columns(models)]
    return TextTable.of("Invented text", columns, rows if scores else [], is_public=True)


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


def build_vocabulary_table(comparison: Comparison) -> TextTable:
    """Return recall and precision of the domain terms, and the terms with the most errors."""
    roles = {model.name: model.role for model in comparison.models}
    return TextTable.of(
        "Domain terms",
        ["Model", "recall", "precision", TableColumn("most errors: correct of spoken", is_numeric=False)],
        [
            [
                TableCell(each.model, series=roles[each.model]),
                figures.share_with_interval(each.recall),
                figures.share_with_interval(each.precision),
                ", ".join(map(_describe_term, each.worst[:_MAX_TERMS])) or "none missed",
            ]
            for each in (comparison.vocabulary.models if comparison.vocabulary else ())
        ],
    )


def _describe_term(term: TermScore) -> str:
    if not term.reference_count:
        return f"{term.term} never spoken, {term.inserted} inserted"
    inserted = f" ({term.inserted} inserted)" if term.inserted else ""
    return f"{term.term} {term.recalled} of {term.reference_count}{inserted}"


def build_punctuation_table(comparison: Comparison) -> TextTable:
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
        ["Mark", *list_model_columns(models)],
        [[name, *map(figures.share_with_interval, values)] for name, values in rows.items()] if scores else [],
    )


def build_confidence_table(comparison: Comparison) -> TextTable:
    """Return the calibration of each model, and how well its confidence finds errors."""
    columns: list[TableColumn | str] = [
        "Model",
        TableColumn("confidence", help="The probability that the model gives its own words, on average."),
        TableColumn("words that are right", help="Of the words that the model wrote."),
        TableColumn("calibration error", help="Mean distance between confidence and right words; 0 is perfect."),
        TableColumn(
            "finds wrong clips",
            help="How often a clip with an error is less confident than one without: 50 % is chance, 100 % perfect.",
        ),
        TableColumn(
            "errors in the least confident 20 %",
            help="Share of all word errors in the fifth of the clips with the least confidence; 20 % is chance.",
        ),
    ]
    return TextTable.of(
        "Confidence",
        columns,
        [
            [
                TableCell(model.name, series=model.role),
                figures.percent(found.confidence),
                figures.percent(found.accuracy),
                figures.share_with_interval(found.calibration_error),
                figures.share_with_interval(found.error_detection),
                figures.share_with_interval(found.errors_in_least_confident),
            ]
            for model in comparison.models
            if (found := model.confidence)
        ],
        is_public=True,
    )


def build_confidence_bin_table(model: ModelScore) -> TextTable:
    """Return the points of the reliability diagram."""
    return TextTable.of(
        "Confidence and right words",
        ["Confidence", "right", "words", "clips"],
        [
            [figures.percent(each.confidence), figures.percent(each.accuracy), str(each.words), str(each.clips)]
            for each in (model.confidence.bins if model.confidence else ())
        ],
    )


def build_decoding_table(comparison: Comparison) -> TextTable:
    """Return how many clips were timed and how many failed."""
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


def build_word_timing_table(comparison: Comparison) -> TextTable:
    """Return the errors of word times."""
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


def build_diarisation_table(comparison: Comparison) -> TextTable:
    """Return the errors of Habla's speaker labels by session."""
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
