"""The WER report as one HTML page of `habla_ml.pages`, with the words of each example aligned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from habla_ml.evaluation.comparison import Comparison, Example, Rate
from habla_ml.evaluation.normalise import spanish
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.advice import advise
from habla_ml.evaluation.report.content import Content
from habla_ml.evaluation.report.places import (
    PHENOMENON_NAMES,
    conditions_of,
    languages_of,
    phenomena_of,
    places_of,
)
from habla_ml.evaluation.report.plots import interval_row, scale_end, versions_chart
from habla_ml.evaluation.report.said import REASONS_SHOWN, chance_of, failures_of, speakers_told
from habla_ml.evaluation.report.scoreboard import scoreboard
from habla_ml.evaluation.report.spread import spread_of
from habla_ml.evaluation.report.summary import detectable, few_clips, summarise
from habla_ml.evaluation.scoring import AlignedWord, align_words
from habla_ml.pages import open_template

KINDS = {
    "improved": "Where the candidate helps most",
    "regressed": "Where it became worse",
    "worst": "Where it still fails",
}


@dataclass(frozen=True)
class _Heard:
    model: str
    series: str
    errors: int
    steps: tuple[AlignedWord, ...]


@dataclass(frozen=True)
class _ShownExample:
    example: Example
    heard: tuple[_Heard, ...]
    flac: bytes | None


@dataclass(frozen=True)
class _ErrorBar:
    model: str
    rate: Rate
    substitutions: float
    deletions: float
    insertions: float
    """Widths in percent of the longest bar."""


def render_html(content: Content, sounds: Mapping[str, bytes]) -> str:
    """The whole page; `sounds` holds FLAC by segment id for the examples that shall be heard."""
    comparison = content.comparison
    template = open_template(
        "habla_ml.evaluation",
        "report.html.j2",
        percent=figures.percent,
        points=figures.points,
        rate=figures.rate_with_interval,
        share=figures.share_with_interval,
        counted=figures.count_with_share,
        fewer=figures.fewer_errors,
        change=figures.points_with_interval,
        factor=figures.factor,
        milliseconds=figures.milliseconds,
        per_minute=figures.per_minute,
        memory=figures.memory,
        dollars=figures.dollars,
        minutes=figures.minutes,
        whose=figures.whose,
        track=interval_row,
        detectable=detectable,
        spread=spread_of,
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
        advice=advise(content, rows),
        series=series,
        chart=versions_chart(content.history, content.focus.name),
        error_bars=_error_bars(comparison),
        places=places_of(comparison, content.focus.name),
        phenomena=phenomena_of(comparison),
        phenomenon_names=PHENOMENON_NAMES,
        marks=_marks(comparison),
        conditions=conditions_of(comparison),
        languages=languages_of(comparison),
        few_clips=few_clips(content),
        should_train=content.should_train,
        reasons_shown=REASONS_SHOWN,
        chance=chance_of(content.should_train) if content.should_train else "",
        failures=failures_of(comparison),
        speakers=speakers_told(comparison),
        model_scale=scale_end([model.wer.interval for model in comparison.models]),
        examples=[
            (KINDS[kind], [_shown(each, series, sounds) for each in members])
            for kind, members in groupby(comparison.examples, key=lambda each: each.kind)
        ],
    )


def _marks(comparison: Comparison) -> list[str]:
    """The marks that any text has, in their own order."""
    scores = [mark for model in comparison.models if model.punctuation for mark in model.punctuation.marks]
    return list(dict.fromkeys(mark.what for mark in scores if mark.f1 is not None))


def _error_bars(comparison: Comparison) -> list[_ErrorBar]:
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


def _shown(example: Example, series: Mapping[str, str], sounds: Mapping[str, bytes]) -> _ShownExample:
    reference = spanish(example.reference)
    return _ShownExample(
        example=example,
        heard=tuple(
            _Heard(each.model, series[each.model], each.errors, tuple(align_words(reference, spanish(each.text))))
            for each in example.hypotheses
        ),
        flac=sounds.get(example.segment_id),
    )
