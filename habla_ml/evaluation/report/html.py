"""The WER report as one HTML page of `habla_ml.pages`, with the words of each example aligned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from habla_ml.evaluation.comparison import Comparison, Example, Rate, Slice
from habla_ml.evaluation.normalise import spanish
from habla_ml.evaluation.promotion import Decision
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.plots import interval_row, scale_end
from habla_ml.evaluation.report.summary import summarise
from habla_ml.evaluation.scoring import AlignedWord, align_words
from habla_ml.pages import open_template

KINDS = {
    "improved": "Where the candidate helps most",
    "regressed": "Where it became worse",
    "worst": "Where it still fails",
}
_DIMENSIONS = {
    "overall": "All",
    "loudness": "Loudness",
    "duration": "Length",
    "snr": "Speech above noise",
    "role": "Role",
    "seen_speaker": "Speaker known from training",
    "source": "Source",
}
_SPEAKERS_SHOWN = 12


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


def render_html(
    comparison: Comparison, decision: Decision, sounds: Mapping[str, bytes], date: str | None = None
) -> str:
    """The whole page; `sounds` holds FLAC by segment id for the examples that shall be heard."""
    template = open_template(
        "habla_ml.evaluation",
        "report.html.j2",
        percent=figures.percent,
        points=figures.points,
        rate=figures.rate_with_interval,
        fewer=figures.fewer_errors,
        change=figures.points_with_interval,
        factor=figures.factor,
        minutes=figures.minutes,
        whose=figures.whose,
    )
    wide = [each for each in comparison.slices if each.dimension in _DIMENSIONS]
    speakers = sorted(
        (each for each in comparison.slices if each.dimension == "speaker"),
        key=lambda each: (-each.words, each.name),
    )
    series = {model.name: model.role for model in comparison.models}
    return template.render(
        comparison=comparison,
        decision=decision,
        summary=summarise(comparison, decision),
        date=date,
        series=series,
        error_bars=_error_bars(comparison),
        slice_groups=[
            (_DIMENSIONS[dimension], list(members)) for dimension, members in groupby(wide, key=_dimension)
        ],
        speakers=speakers[:_SPEAKERS_SHOWN],
        more_speakers=speakers[_SPEAKERS_SHOWN:],
        slice_scale=scale_end([rate.rate.interval for each in wide for rate in each.rates]),
        speaker_scale=scale_end([rate.rate.interval for each in speakers for rate in each.rates]),
        model_scale=scale_end([model.wer.interval for model in comparison.models]),
        interval_row=interval_row,
        examples=[
            (KINDS[kind], [_shown(each, series, sounds) for each in members])
            for kind, members in groupby(comparison.examples, key=lambda each: each.kind)
        ],
    )


def _dimension(each: Slice) -> str:
    return each.dimension


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
