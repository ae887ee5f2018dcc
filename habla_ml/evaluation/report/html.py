"""The WER report as one HTML page of `habla_ml.html`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from habla_ml.evaluation.comparison.records import Comparison, ExampleUtterance
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.breakdown import PHENOMENON_LABELS, break_down_test_set, split_features_by_size
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.deployment_advice import advise_deployment
from habla_ml.evaluation.report.plots import draw_interval_row, draw_versions_chart, round_axis_end
from habla_ml.evaluation.report.scoreboard import build_scoreboard
from habla_ml.evaluation.report.sentences import (
    REASONS_SHOWN,
    describe_diarisation,
    describe_failures,
    describe_method,
    describe_vocabulary,
)
from habla_ml.evaluation.report.summary import summarise
from habla_ml.evaluation.report.tables import build_confusion_tables, build_tables
from habla_ml.evaluation.scoring.alignment import AlignedWord, align_words
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.rates import ErrorRate
from habla_ml.html import open_template

EXAMPLE_TITLES = {
    "improved": "Largest improvements",
    "regressed": "Largest regressions",
    "worst": "Most remaining errors",
}


@dataclass(frozen=True)
class _AlignedHypothesis:
    model: str
    series: str
    errors: int
    steps: tuple[AlignedWord, ...]


@dataclass(frozen=True)
class _AlignedExample:
    example: ExampleUtterance
    hypotheses: tuple[_AlignedHypothesis, ...]
    flac: bytes | None


@dataclass(frozen=True)
class _ErrorBar:
    model: str
    rate: ErrorRate
    substitutions: float
    deletions: float
    insertions: float
    """Widths in percent of the longest bar."""


def render_html(content: ReportContent, flac_by_segment: Mapping[str, bytes]) -> str:
    """Return the whole page; `flac_by_segment` holds the audio of the examples as FLAC, by segment id."""
    comparison = content.comparison
    template = open_template(
        "habla_ml.evaluation.report",
        "report.html.j2",
        percent=figures.percent,
        rate=figures.rate_with_interval,
        share=figures.share_with_interval,
        reduction=figures.format_error_reduction,
        change=figures.points_with_interval,
        track=draw_interval_row,
    )
    series = {model.name: model.role for model in comparison.models}
    rows = build_scoreboard(comparison, content.acceptable)
    return template.render(
        content=content,
        comparison=comparison,
        decision=content.decision,
        verdict_class=content.decision.verdict if content.decision else "none",
        focus=content.focus,
        summary=summarise(content),
        tables=build_tables(content, rows),
        confusion_tables=[
            (each.model, build_confusion_tables(each))
            for each in sorted(comparison.confusions, key=lambda each: each.model)
            if each.words
        ],
        advice=advise_deployment(content, rows),
        series=series,
        chart=draw_versions_chart(content.history, content.focus.name),
        error_bars=_build_error_bars(comparison),
        breakdown=break_down_test_set(comparison, content.focus.name),
        features=split_features_by_size(comparison),
        feature_labels=PHENOMENON_LABELS,
        reasons_shown=REASONS_SHOWN,
        failures=describe_failures(comparison),
        method=describe_method(comparison),
        vocabulary=describe_vocabulary(comparison),
        diarisation=describe_diarisation(comparison),
        model_scale=round_axis_end([model.wer.interval for model in comparison.models]),
        examples=[
            (EXAMPLE_TITLES[kind], [_align_example(each, series, flac_by_segment) for each in members])
            for kind, members in groupby(comparison.examples, key=lambda each: each.kind)
        ],
    )


def _build_error_bars(comparison: Comparison) -> list[_ErrorBar]:
    longest = max((model.wer.value or 0.0 for model in comparison.models), default=0.0)
    bars = []
    for model in comparison.models:
        counts = model.wer.counts
        whole = longest * counts.reference_words
        widths = [
            100 * part / whole if whole else 0.0 for part in (counts.substitutions, counts.deletions, counts.insertions)
        ]
        bars.append(_ErrorBar(model.name, model.wer, *widths))
    return bars


def _align_example(
    example: ExampleUtterance, series: Mapping[str, str], flac_by_segment: Mapping[str, bytes]
) -> _AlignedExample:
    reference = normalise_spanish(example.reference)
    return _AlignedExample(
        example=example,
        hypotheses=tuple(
            _AlignedHypothesis(
                each.model, series[each.model], each.errors, tuple(align_words(reference, normalise_spanish(each.text)))
            )
            for each in example.hypotheses
        ),
        flac=flac_by_segment.get(example.segment_id),
    )
