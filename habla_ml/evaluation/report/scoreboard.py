"""The table `metric | A | B | winner`: every dimension of every model, what is acceptable, and who is better.

One model is better than another beyond noise where the interval of their difference on the same draws does not hold
zero or, where no such difference was drawn, where their intervals do not touch. What is measured once and has no
interval takes a margin. The winners are those whom nobody beats so; nobody wins where nobody is beaten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from habla_ml.evaluation.comparison.records import Change, Comparison, ModelScore
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.thresholds import ThresholdStatus, threshold_status
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import AcceptableSettings
from habla_ml.transcription.options import HostedOptions

NO_WINNER: Final = "no clear winner"
_COST_MARGIN: Final = 0.05
_MEMORY_MARGIN: Final = 0.15
"""Three models of one size, measured one after the other, took 243, 271 and 276 MiB."""


@dataclass(frozen=True)
class ScoreboardCell:
    """One model in one dimension."""

    text: str
    threshold_status: ThresholdStatus | None


@dataclass(frozen=True)
class ScoreboardRow:
    """One dimension."""

    metric: str
    bound: str
    """What is acceptable, or empty."""
    cells: tuple[ScoreboardCell, ...]
    """In the order of the models."""
    winners: tuple[str, ...]
    """Those whom nobody beats, where somebody is beaten."""
    losers: tuple[str, ...] = ()

    @property
    def winner(self) -> str:
        """The winners, `NO_WINNER`, or a dash where fewer than two were measured."""
        measured = sum(each.text != figures.NO_VALUE for each in self.cells)
        return ", ".join(self.winners) or (NO_WINNER if measured > 1 else figures.NO_VALUE)

    @property
    def is_measured(self) -> bool:
        """Whether there is any figure."""
        return any(each.text != figures.NO_VALUE for each in self.cells)


@dataclass(frozen=True)
class _Metric:
    name: str
    get_figure: Callable[[ModelScore], Interval | None]
    format_figure: Callable[[Interval | None], str]
    bound: Callable[[ModelScore], float | None] = lambda _: None
    bound_text: str = ""
    paired_difference: Callable[[Change], Interval | None] = lambda _: None
    """Change in the unit of the figure or in points; only its sign is read."""
    higher_is_better: bool = False
    margin: float = 0.0
    """Share by which a figure without an interval must be lower to be better."""


def scoreboard(comparison: Comparison, acceptable: AcceptableSettings) -> tuple[ScoreboardRow, ...]:
    """Every dimension, those that nobody measured too."""
    metrics = (
        *_list_accuracy_metrics(acceptable),
        *_list_hallucination_metrics(),
        *_list_text_metrics(comparison, acceptable),
        *_list_resource_metrics(acceptable, comparison),
    )
    return tuple(_build_scoreboard_row(metric, comparison) for metric in metrics)


def _list_accuracy_metrics(bounds: AcceptableSettings) -> Iterator[_Metric]:
    share = figures.share_with_interval
    yield _Metric(
        "WER",
        lambda model: model.wer.interval,
        share,
        lambda _: bounds.wer,
        _format_upper_bound(figures.percent(bounds.wer, 0) if bounds.wer is not None else ""),
        lambda change: change.points,
    )
    yield _Metric(
        "WER as written",
        lambda model: model.orthographic_wer.interval,
        share,
        paired_difference=lambda change: change.orthographic_points,
    )
    yield _Metric(
        "CER",
        lambda model: model.cer.interval,
        share,
        lambda _: bounds.cer,
        _format_upper_bound(figures.percent(bounds.cer, 0) if bounds.cer is not None else ""),
        lambda change: change.character_points,
    )
    yield _Metric(
        "words missing", lambda m: m.deletion_rate, share, paired_difference=lambda change: change.deletion_points
    )
    yield _Metric(
        "words too many",
        lambda m: m.insertion_rate,
        share,
        paired_difference=lambda change: change.insertion_points,
    )
    yield _Metric(
        "WER on other Spanish",
        lambda model: model.out_of_domain_wer.interval if model.out_of_domain_wer else None,
        share,
        paired_difference=lambda change: change.out_of_domain_points,
    )


def _list_hallucination_metrics() -> Iterator[_Metric]:
    yield _Metric(
        "text where nobody speaks",
        lambda model: model.hallucination.non_speech.interval if model.hallucination else None,
        figures.share_with_interval,
        paired_difference=lambda change: change.hallucination.non_speech_points if change.hallucination else None,
    )
    yield _Metric(
        "invented texts",
        lambda model: model.hallucination.invented.interval if model.hallucination else None,
        figures.share_with_interval,
        paired_difference=lambda change: change.hallucination.invented_points if change.hallucination else None,
    )


def _list_text_metrics(comparison: Comparison, bounds: AcceptableSettings) -> Iterator[_Metric]:
    yield _Metric(
        "punctuation F1",
        lambda model: model.punctuation.punctuation.f1 if model.punctuation else None,
        figures.share_with_interval,
        paired_difference=lambda change: change.punctuation.punctuation_points if change.punctuation else None,
        higher_is_better=True,
    )
    yield _Metric(
        "capitals F1",
        lambda model: model.punctuation.capitals.f1 if model.punctuation else None,
        figures.share_with_interval,
        paired_difference=lambda change: change.punctuation.capital_points if change.punctuation else None,
        higher_is_better=True,
    )
    terms = {each.model: each.recall for each in comparison.vocabulary.models} if comparison.vocabulary else {}
    yield _Metric(
        "domain words heard",
        lambda model: terms.get(model.name),
        figures.share_with_interval,
        paired_difference=lambda change: (
            comparison.vocabulary.recall_change if comparison.vocabulary and change.role == "base" else None
        ),
        higher_is_better=True,
    )
    yield _Metric(
        "error of word times",
        lambda model: model.word_timing.mean_absolute_ms if model.word_timing else None,
        figures.milliseconds,
        lambda _: bounds.word_timing_ms,
        _format_upper_bound(f"{bounds.word_timing_ms:.0f}\u00a0ms" if bounds.word_timing_ms is not None else ""),
    )


def _list_resource_metrics(bounds: AcceptableSettings, comparison: Comparison) -> Iterator[_Metric]:
    for name, of, bound in (
        ("real-time factor p50", lambda m: m.speed.real_time_factor_p50, bounds.real_time_factor_p50),
        ("real-time factor p95", lambda m: m.speed.real_time_factor_p95, bounds.real_time_factor_p95),
    ):
        yield _Metric(
            name,
            of,
            figures.factor,
            _use_same_bound(bound),
            _format_upper_bound(f"{bound:g}\u00a0×" if bound is not None else ""),
        )
    for name, of, bound in (
        ("peak memory", lambda m: _make_point_interval(m.resources.peak_memory_bytes), bounds.peak_memory_bytes),
        (
            "peak GPU memory",
            lambda m: _make_point_interval(m.resources.peak_gpu_memory_bytes),
            bounds.peak_gpu_memory_bytes,
        ),
    ):
        below = _format_upper_bound(figures.memory(bound)) if bound is not None else ""
        yield _Metric(
            name,
            of,
            lambda value: figures.memory(value.value if value else None),
            _use_same_bound(bound),
            below,
            margin=_MEMORY_MARGIN,
        )

    def price(model: ModelScore) -> float | None:
        hosted = isinstance(model.decoding, HostedOptions)
        return bounds.hosted_cost_per_audio_hour_usd if hosted else bounds.own_cost_per_audio_hour_usd

    prices = [each for each in dict.fromkeys(price(model) for model in comparison.models) if each is not None]
    yield _Metric(
        "cost per hour of audio",
        lambda model: _make_point_interval(model.resources.cost_per_audio_hour_usd),
        lambda value: figures.dollars(value.value if value else None),
        price,
        _format_upper_bound(" or ".join(figures.dollars(each) for each in prices)),
        margin=_COST_MARGIN,
    )


def _use_same_bound(bound: float | None) -> Callable[[ModelScore], float | None]:
    return lambda _: bound


def _format_upper_bound(bound: str) -> str:
    return f"below {bound}" if bound else ""


def _make_point_interval(value: float | None) -> Interval | None:
    """What was measured once: an interval without width."""
    return None if value is None else Interval(value, value, value)


def _build_scoreboard_row(metric: _Metric, comparison: Comparison) -> ScoreboardRow:
    found = [metric.get_figure(model) for model in comparison.models]
    winners, beaten = _find_winners(metric, comparison, found)
    return ScoreboardRow(
        metric=metric.name,
        bound=metric.bound_text,
        cells=tuple(
            ScoreboardCell(metric.format_figure(figure), threshold_status(figure, metric.bound(model)))
            for figure, model in zip(found, comparison.models, strict=True)
        ),
        winners=winners,
        losers=beaten,
    )


def _find_winners(
    metric: _Metric, comparison: Comparison, found: list[Interval | None]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Whom nobody beats, and who is beaten; nobody, where nobody is."""
    known = [
        (model.name, figure) for model, figure in zip(comparison.models, found, strict=True) if figure is not None
    ]
    beaten = tuple(
        name
        for name, own in known
        if any(
            _is_better(metric, comparison, other, figure, name, own) for other, figure in known if other != name
        )
    )
    return (tuple(name for name, _ in known if name not in beaten) if beaten else ()), beaten


def _is_better(
    metric: _Metric, comparison: Comparison, best: str, own: Interval, name: str, other: Interval
) -> bool:
    sign = -1.0 if metric.higher_is_better else 1.0
    for change in comparison.changes:
        drawn = metric.paired_difference(change)
        if drawn is not None and {change.of, change.against} == {best, name}:
            ends = [(sign if change.of == best else -sign) * each for each in (drawn.low, drawn.high)]
            return max(ends) < 0
    low, high = (own, other) if sign > 0 else (other, own)
    if own.low == own.high and other.low == other.high:
        return low.value < (1 - metric.margin) * high.value
    return low.high < high.low
