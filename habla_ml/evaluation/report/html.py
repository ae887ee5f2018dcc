"""The WER report as one HTML page of `habla_ml.html`, with the words of each example aligned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from habla_ml.evaluation.comparison.records import Comparison, ErrorRate, ExampleUtterance
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.breakdown import (
    PHENOMENON_LABELS,
    break_down_test_set,
    describe_conditions,
    list_decoding_languages,
    split_phenomena_by_size,
)
from habla_ml.evaluation.report.content import Content
from habla_ml.evaluation.report.deployment_advice import advise_deployment
from habla_ml.evaluation.report.plots import draw_interval_row, draw_versions_chart, round_axis_end
from habla_ml.evaluation.report.scoreboard import scoreboard
from habla_ml.evaluation.report.seed_spread import format_seed_spread
from habla_ml.evaluation.report.sentences import (
    REASONS_SHOWN,
    describe_chance,
    describe_diarisation,
    describe_failures,
)
from habla_ml.evaluation.report.summary import describe_detectable_difference, describe_small_test_set, summarise
from habla_ml.evaluation.scoring.alignment import AlignedWord, align_words
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.html import open_template

EXAMPLE_TITLES = {
    "improved": "Where the candidate helps most",
    "regressed": "Where it became worse",
    "worst": "Where it still fails",
}


@dataclass(frozen=True)
class _AlignedHypothesis:
    model: str
    series: str
    errors: int
    steps: tuple[AlignedWord, ...]


@dataclass(frozen=True)
class _ShownExample:
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


def render_html(content: Content, flac_by_segment: Mapping[str, bytes]) -> str:
    """The whole page; `flac_by_segment` holds FLAC by segment id for the examples that shall be heard."""
    comparison = content.comparison
    template = open_template(
        "habla_ml.evaluation.report",
        "report.html.j2",
        percent=figures.percent,
        points=figures.points,
        rate=figures.rate_with_interval,
        share=figures.share_with_interval,
        counted=figures.count_with_share,
        fewer=figures.format_error_reduction,
        change=figures.points_with_interval,
        factor=figures.factor,
        milliseconds=figures.milliseconds,
        per_minute=figures.per_minute,
        memory=figures.memory,
        dollars=figures.dollars,
        minutes=figures.minutes,
        describe_speech_source=figures.describe_speech_source,
        track=draw_interval_row,
        describe_detectable_difference=describe_detectable_difference,
        spread=format_seed_spread,
    )
    series = {model.name: model.role for model in comparison.models}
    rows = scoreboard(comparison, content.acceptable)
    return template.render(
        content=content,
        comparison=comparison,
        decision=content.decision,
        verdict_class=content.decision.verdict if content.decision else "none",
        focus=content.focus,
        summary=summarise(content),
        scoreboard=rows,
        advice=advise_deployment(content, rows),
        series=series,
        chart=draw_versions_chart(content.history, content.focus.name),
        error_bars=_build_error_bars(comparison),
        breakdown=break_down_test_set(comparison, content.focus.name),
        phenomena=split_phenomena_by_size(comparison),
        phenomenon_names=PHENOMENON_LABELS,
        marks=_list_marks(comparison),
        conditions=describe_conditions(comparison),
        languages=list_decoding_languages(comparison),
        describe_small_test_set=describe_small_test_set(content),
        should_train=content.should_train,
        reasons_shown=REASONS_SHOWN,
        probability_text=describe_chance(content.should_train) if content.should_train else "",
        failures=describe_failures(comparison),
        speakers=describe_diarisation(comparison),
        model_scale=round_axis_end([model.wer.interval for model in comparison.models]),
        examples=[
            (EXAMPLE_TITLES[kind], [_prepare_example(each, series, flac_by_segment) for each in members])
            for kind, members in groupby(comparison.examples, key=lambda each: each.kind)
        ],
    )


def _list_marks(comparison: Comparison) -> list[str]:
    """The marks that any text has, in their own order."""
    scores = [mark for model in comparison.models if model.punctuation for mark in model.punctuation.marks]
    return list(dict.fromkeys(mark.mark for mark in scores if mark.f1 is not None))


def _build_error_bars(comparison: Comparison) -> list[_ErrorBar]:
    longest = max((model.wer.value or 0.0 for model in comparison.models), default=0.0)
    bars = []
    for model in comparison.models:
        counts = model.wer.counts
        whole = longest * counts.reference_words
        widths = [
            100 * part / whole if whole else 0.0
            for part in (counts.substitutions, counts.deletions, counts.insertions)
        ]
        bars.append(_ErrorBar(model.name, model.wer, *widths))
    return bars


def _prepare_example(
    example: ExampleUtterance, series: Mapping[str, str], flac_by_segment: Mapping[str, bytes]
) -> _ShownExample:
    reference = normalise_spanish(example.reference)
    return _ShownExample(
        example=example,
        hypotheses=tuple(
            _AlignedHypothesis(
                each.model,
                series[each.model],
                each.errors,
                tuple(align_words(reference, normalise_spanish(each.text))),
            )
            for each in example.hypotheses
        ),
        flac=flac_by_segment.get(example.segment_id),
    )
