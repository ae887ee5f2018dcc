"""The table `metric | A | B | winner`: every dimension of every model, what is acceptable, and who is better.

One model is better than another beyond noise where the interval of their difference on the same draws does not hold
zero or, where no such difference was drawn, where their intervals do not touch. What is measured once and has no
interval takes a margin. The winners are those whom nobody beats so; nobody wins where nobody is beaten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from habla_ml.evaluation.comparison import Change, Comparison, ModelScore
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.thresholds import Standing, standing
from habla_ml.evaluation.statistics import Interval
from habla_ml.settings import AcceptableSettings
from habla_ml.transcription.options import HostedOptions

NO_WINNER: Final = "no clear winner"
_COST_MARGIN: Final = 0.05
_MEMORY_MARGIN: Final = 0.15
"""Three models of one size, measured one after the other, took 243, 271 and 276 MiB."""


@dataclass(frozen=True)
class Cell:
    """One model in one dimension."""

    text: str
    standing: Standing | None


@dataclass(frozen=True)
class Row:
    """One dimension."""

    metric: str
    bound: str
    """What is acceptable, or empty."""
    cells: tuple[Cell, ...]
    """In the order of the models."""
    winners: tuple[str, ...]
    """Those whom nobody beats, where somebody is beaten."""
    beaten: tuple[str, ...] = ()

    @property
    def winner(self) -> str:
        """The winners, `NO_WINNER`, or a dash where fewer than two were measured."""
        measured = sum(each.text != figures.UNKNOWN for each in self.cells)
        return ", ".join(self.winners) or (NO_WINNER if measured > 1 else figures.UNKNOWN)

    @property
    def is_measured(self) -> bool:
        """Whether there is any figure."""
        return any(each.text != figures.UNKNOWN for each in self.cells)


@dataclass(frozen=True)
class _Metric:
    name: str
    of: Callable[[ModelScore], Interval | None]
    show: Callable[[Interval | None], str]
    bound: Callable[[ModelScore], float | None] = lambda _: None
    bound_text: str = ""
    paired: Callable[[Change], Interval | None] = lambda _: None
    """Change in the unit of the figure or in points; only its sign is read."""
    higher_is_better: bool = False
    margin: float = 0.0
    """Share by which a figure without an interval must be lower to be better."""


def scoreboard(comparison: Comparison, acceptable: AcceptableSettings) -> tuple[Row, ...]:
    """Every dimension, those that nobody measured too."""
    metrics = (
        *_accuracy(acceptable),
        *_inventions(),
        *_writing(comparison, acceptable),
        *_resources(acceptable, comparison),
    )
    return tuple(_row(metric, comparison) for metric in metrics)


def _accuracy(bounds: AcceptableSettings) -> Iterator[_Metric]:
    share = figures.share_with_interval
    yield _Metric(
        "WER",
        lambda model: model.wer.interval,
        share,
        lambda _: bounds.wer,
        _below(figures.percent(bounds.wer, 0) if bounds.wer is not None else ""),
        lambda change: change.points,
    )
    yield _Metric(
        "WER as written",
        lambda model: model.orthographic_wer.interval,
        share,
        paired=lambda change: change.orthographic_points,
    )
    yield _Metric(
        "CER",
        lambda model: model.cer.interval,
        share,
        lambda _: bounds.cer,
        _below(figures.percent(bounds.cer, 0) if bounds.cer is not None else ""),
        lambda change: change.character_points,
    )
    yield _Metric("words missing", lambda m: m.deletion_rate, share, paired=lambda change: change.deletion_points)
    yield _Metric(
        "words too many", lambda m: m.insertion_rate, share, paired=lambda change: change.insertion_points
    )
    yield _Metric(
        "WER on other Spanish",
        lambda model: model.out_of_domain_wer.interval if model.out_of_domain_wer else None,
        share,
        paired=lambda change: change.out_of_domain_points,
    )


def _inventions() -> Iterator[_Metric]:
    yield _Metric(
        "text where nobody speaks",
        lambda model: model.hallucination.non_speech.interval if model.hallucination else None,
        figures.share_with_interval,
        paired=lambda change: change.hallucination.non_speech_points if change.hallucination else None,
    )
    yield _Metric(
        "invented texts",
        lambda model: model.hallucination.invented.interval if model.hallucination else None,
        figures.share_with_interval,
        paired=lambda change: change.hallucination.invented_points if change.hallucination else None,
    )


def _writing(comparison: Comparison, bounds: AcceptableSettings) -> Iterator[_Metric]:
    yield _Metric(
        "punctuation F1",
        lambda model: model.punctuation.punctuation.f1 if model.punctuation else None,
        figures.share_with_interval,
        paired=lambda change: change.punctuation.punctuation_points if change.punctuation else None,
        higher_is_better=True,
    )
    yield _Metric(
        "capitals F1",
        lambda model: model.punctuation.capitals.f1 if model.punctuation else None,
        figures.share_with_interval,
        paired=lambda change: change.punctuation.capital_points if change.punctuation else None,
        higher_is_better=True,
    )
    terms = {each.model: each.recall for each in comparison.vocabulary.models} if comparison.vocabulary else {}
    yield _Metric(
        "domain words heard",
        lambda model: terms.get(model.name),
        figures.share_with_interval,
        paired=lambda change: (
            comparison.vocabulary.recall_change if comparison.vocabulary and change.role == "base" else None
        ),
        higher_is_better=True,
    )
    yield _Metric(
        "error of word times",
        lambda model: model.word_timing.mean_absolute_ms if model.word_timing else None,
        figures.milliseconds,
        lambda _: bounds.word_timing_ms,
        _below(f"{bounds.word_timing_ms:.0f}\u00a0ms" if bounds.word_timing_ms is not None else ""),
    )


def _resources(bounds: AcceptableSettings, comparison: Comparison) -> Iterator[_Metric]:
    for name, of, bound in (
        ("real-time factor p50", lambda m: m.speed.real_time_factor_p50, bounds.real_time_factor_p50),
        ("real-time factor p95", lambda m: m.speed.real_time_factor_p95, bounds.real_time_factor_p95),
    ):
        yield _Metric(
            name, of, figures.factor, _always(bound), _below(f"{bound:g}\u00a0×" if bound is not None else "")
        )
    for name, of, bound in (
        ("peak memory", lambda m: _once(m.resources.peak_memory_bytes), bounds.peak_memory_bytes),
        ("peak GPU memory", lambda m: _once(m.resources.peak_gpu_memory_bytes), bounds.peak_gpu_memory_bytes),
    ):
        below = _below(figures.memory(bound)) if bound is not None else ""
        yield _Metric(
            name,
            of,
            lambda value: figures.memory(value.value if value else None),
            _always(bound),
            below,
            margin=_MEMORY_MARGIN,
        )

    def price(model: ModelScore) -> float | None:
        hosted = isinstance(model.decoding, HostedOptions)
        return bounds.hosted_cost_per_audio_hour_usd if hosted else bounds.own_cost_per_audio_hour_usd

    prices = [each for each in dict.fromkeys(price(model) for model in comparison.models) if each is not None]
    yield _Metric(
        "cost per hour of audio",
        lambda model: _once(model.resources.cost_per_audio_hour_usd),
        lambda value: figures.dollars(value.value if value else None),
        price,
        _below(" or ".join(figures.dollars(each) for each in prices)),
        margin=_COST_MARGIN,
    )


def _always(bound: float | None) -> Callable[[ModelScore], float | None]:
    return lambda _: bound


def _below(bound: str) -> str:
    return f"below {bound}" if bound else ""


def _once(value: float | None) -> Interval | None:
    """What was measured once: an interval without width."""
    return None if value is None else Interval(value, value, value)


def _row(metric: _Metric, comparison: Comparison) -> Row:
    found = [metric.of(model) for model in comparison.models]
    winners, beaten = _judged(metric, comparison, found)
    return Row(
        metric=metric.name,
        bound=metric.bound_text,
        cells=tuple(
            Cell(metric.show(figure), standing(figure, metric.bound(model)))
            for figure, model in zip(found, comparison.models, strict=True)
        ),
        winners=winners,
        beaten=beaten,
    )


def _judged(
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
        drawn = metric.paired(change)
        if drawn is not None and {change.of, change.against} == {best, name}:
            ends = [(sign if change.of == best else -sign) * each for each in (drawn.low, drawn.high)]
            return max(ends) < 0
    low, high = (own, other) if sign > 0 else (other, own)
    if own.low == own.high and other.low == other.high:
        return low.value < (1 - metric.margin) * high.value
    return low.high < high.low
