"""How sure a figure is: the paired bootstrap over sessions.

Utterances of one session share a room, a microphone and voices, so they are not independent; whole sessions (or
speakers) are drawn instead, with replacement, and every model, measure and slice is scored on the same draws (Bisani
and Ney, Bootstrap estimates for confidence intervals in ASR performance evaluation, ICASSP 2004). Only counts are
drawn, never strings.

Over few sessions a percentile interval is too narrow: with five it excludes the truth about three times as often as
it says. It is therefore widened about the measured value by sqrt(n / (n - 1)) and by Student's t over the normal
quantile (the two causes, in Hesterberg, What teachers should know about the bootstrap, The American Statistician 69
(2015), 371-386), where n is the effective number of sessions, (sum w)^2 / sum w^2 over their weights in the figure
(Kish, Survey sampling, 1965): ten sessions of which one holds most words are not ten.
`benchmarks/bench_calibration.py` measures how often such an interval holds the truth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.errors import EvaluationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE_LEVEL = 0.95
INTERVAL_RULE = "percentile-t-1"
"""Changes whenever the same counts and draws may give another interval."""

_MAX_WEIGHT_CELLS = 4_000_000
"""Weights held at once, draws x units."""
_MAX_SUM_CELLS = 16_000_000
"""Sums of units held at once, units x columns."""
_MAX_DRAWS_WITHIN_UNIT = 1000
_MIN_UNITS = 2.0


@dataclass(frozen=True)
class Interval:
    """A measured value and its 95 % interval."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A value, what it came to in each draw, and how many units stand behind it: all that an interval needs."""

    value: float
    drawn: NDArray[np.float64]
    """Shape [draws]; NaN where a draw holds no unit of the slice."""
    units: float
    """Effective number of units, at least 1."""
    floor: float = -np.inf
    ceiling: float = np.inf
    """What the value can come to; the interval stays within."""

    @cached_property
    def standard_error(self) -> float:
        """Of the value, corrected for few units."""
        units = max(self.units, _MIN_UNITS)
        return float(np.nanstd(self.drawn) * np.sqrt(units / (units - 1)))

    def interval(self) -> Interval:
        """The percentile interval, widened for few units."""
        tail = (1 - CONFIDENCE_LEVEL) / 2
        low, high = np.quantile(self.drawn[~np.isnan(self.drawn)], [tail, 1 - tail])
        wider = compute_widening(1 - tail, self.units)
        below, above = max(self.value - float(low), 0.0), max(float(high) - self.value, 0.0)
        return Interval(
            low=max(self.floor, self.value - wider * below),
            value=self.value,
            high=min(self.ceiling, self.value + wider * above),
        )


@dataclass(frozen=True)
class Counts:
    """What one set or slice counts, utterance by utterance, for every model."""

    words: NDArray[np.int64]
    """Reference words (or characters, sites, clips: what the rate is of), shape [utterances]."""
    errors: NDArray[np.int64]
    """What is counted against them, shape [utterances, models]."""
    rows: NDArray[np.intp] | None = None
    """Which utterances of the drawn set these are, one for each entry; None: all of them, in order."""

    def select_rows(self, rows: Sequence[int]) -> Counts:
        """These counts on some utterances of the set only."""
        chosen = np.asarray(rows, dtype=np.intp)
        return Counts(self.words[chosen], self.errors[chosen], chosen)


@dataclass(frozen=True)
class Resample:
    """Totals over the units as they are, and over each bootstrap draw of them."""

    words: int
    errors: NDArray[np.int64]
    """Errors of each model over all units, shape [models]."""
    drawn_words: NDArray[np.float64]
    """Reference words in each draw, shape [draws]; 0 where a draw holds no unit of the slice."""
    drawn_errors: NDArray[np.float64]
    """Errors of each model in each draw, shape [draws, models]."""
    units: NDArray[np.float64]
    """Effective number of units by words, then by the errors of each model, shape [1 + models]."""

    def rate(self, model: int) -> Estimate | None:
        """The error rate of a model; None where there is no reference word."""
        if not self.words:
            return None
        drawn = _divide_or_nan(self.drawn_errors[:, model], self.drawn_words)
        value = int(self.errors[model]) / self.words
        return Estimate(value, drawn, float(self.units[0]), floor=0.0, ceiling=max(1.0, float(np.nanmax(drawn))))

    def relative_improvement(self, before: int, after: int) -> Estimate | None:
        """The share of the errors of model `before` that model `after` no longer makes: 0.4 is 40 % fewer.

        Where `before` makes no error it is counted as one, so that any error of `after` is a loss and none is a
        tie. None where there is no reference word.
        """
        if not self.words:
            return None
        old, new = int(self.errors[before]), int(self.errors[after])
        drawn_old, drawn_new = self.drawn_errors[:, before], self.drawn_errors[:, after]
        drawn = (drawn_old - drawn_new) / np.maximum(drawn_old, 1)
        drawn = np.where(self.drawn_words > 0, drawn, np.nan)
        return Estimate((old - new) / max(old, 1), drawn, float(self.units[1 + before]), ceiling=1.0)

    def point_change(self, before: int, after: int) -> Estimate | None:
        """Error rate of `after` minus that of `before`, in points (x 100): positive is worse.

        None where there is no reference word.
        """
        if not self.words:
            return None
        change = 100 * int(self.errors[after] - self.errors[before]) / self.words
        drawn = 100 * _divide_or_nan(self.drawn_errors[:, after] - self.drawn_errors[:, before], self.drawn_words)
        return Estimate(change, drawn, float(self.units[0]))


@dataclass(frozen=True)
class Draws:
    """Bootstrap draws of the units of one set of utterances, the same for every figure of the set.

    Nothing is kept but the seed: the weights are drawn again, block by block, whenever they are needed, so that
    memory is bounded whatever the number of units.
    """

    unit: NDArray[np.intp]
    """Number of the unit of each utterance."""
    draws: int
    seed: int

    @classmethod
    def of(cls, units: Sequence[str], draws: int, seed: int) -> Draws:
        """Draw the units named by `units`, the session or speaker of each utterance, in any order."""
        _, index = np.unique(np.asarray(units, dtype=object).astype(str), return_inverse=True)
        return cls(index.astype(np.intp), draws, seed)

    def resample(self, tables: Sequence[Counts]) -> list[Resample]:
        """Totals of each table, all on the same draws.

        A table whose utterances are all of one unit is drawn utterance by utterance: an interval of no width would
        claim certainty. It says how sure the figure of that one session is, and nothing about others; a thousand
        draws are enough for that, and cannot be mistaken for paired ones.

        Raises:
            EvaluationError: A table has other numbers of words, errors and utterances.
        """
        found: dict[int, Resample] = {}
        units = int(self.unit.max()) + 1 if len(self.unit) else 0
        waiting: dict[int, list[_UnitSums]] = {}
        for place, table in enumerate(tables):
            unit = self._get_units(table)
            columns = np.column_stack([table.words, table.errors]).astype(np.float64)
            alone = len(columns) > 1 and bool((unit == unit[0]).all())
            draws = min(self.draws, _MAX_DRAWS_WITHIN_UNIT) if alone else self.draws
            summed = _UnitSums(place, columns if alone else _sum_by_unit(unit, columns, units), draws)
            # Columns over equally many units share their weights, those of single units among themselves too.
            key = len(columns) if alone else 0
            waiting.setdefault(key, []).append(summed)
            if sum(each.sums.size for each in waiting[key]) > _MAX_SUM_CELLS:
                found.update(_draw_together(waiting.pop(key), self.seed))
        for group in waiting.values():
            found.update(_draw_together(group, self.seed))
        return [found[place] for place in range(len(tables))]

    def _get_units(self, table: Counts) -> NDArray[np.intp]:
        unit = self.unit if table.rows is None else self.unit[table.rows]
        if not len(unit) == len(table.words) == len(table.errors):
            raise EvaluationError(
                f"{len(unit)} utterances, {len(table.words)} word counts and {len(table.errors)} error counts do "
                "not describe the same utterances; pass one of each for every utterance"
            )
        return unit


def to_interval(figure: Estimate | None) -> Interval | None:
    """The interval of a figure where there is one."""
    return None if figure is None else figure.interval()


def compute_widening(level: float, units: float) -> float:
    """How much wider a normal-theory interval must be over few units; `level` is the one-sided level, above 1/2."""
    units = max(units, _MIN_UNITS)
    return compute_t_quantile(level, units - 1) / NormalDist().inv_cdf(level) * math.sqrt(units / (units - 1))


@lru_cache(maxsize=4096)
def compute_t_quantile(level: float, freedom: float) -> float:
    """Quantile of Student's t with `freedom` >= 1 degrees, not necessarily whole; `level` is at least 1/2.

    With t = sqrt(freedom) tan(angle) the density of the angle is cos(angle)^(freedom - 1), which is integrated.
    """
    widest = min(np.pi / 2, 40 / math.sqrt(freedom))
    angle = np.linspace(0.0, widest, 8_001)
    density = np.cos(angle) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    found = np.interp(2 * level - 1, mass / mass[-1], angle)
    return float(np.sqrt(freedom) * np.tan(found))


def _sum_by_unit(unit: NDArray[np.intp], columns: NDArray[np.float64], units: int) -> NDArray[np.float64]:
    """Sums of the columns over the utterances of each unit, shape [units, columns]."""
    sums = [np.bincount(unit, weights=columns[:, at], minlength=units) for at in range(columns.shape[1])]
    return np.column_stack(sums).astype(np.float64)


@dataclass(frozen=True)
class _UnitSums:
    """A table by unit, ready to be drawn."""

    place: int
    sums: NDArray[np.float64]
    draws: int


def _draw_together(group: Sequence[_UnitSums], seed: int) -> dict[int, Resample]:
    """Draw tables over the same units at once; by their place."""
    sums = np.column_stack([each.sums for each in group])
    drawn = np.zeros((group[0].draws, sums.shape[1]))
    if len(sums):
        drawn = np.concatenate([weights @ sums for weights in _draw_weights(len(sums), group[0].draws, seed)])
    found, at = {}, 0
    for each in group:
        width = each.sums.shape[1]
        found[each.place] = _make_resample(each.sums, drawn[:, at : at + width])
        at += width
    return found


def _draw_weights(units: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each unit is in each draw, in blocks of shape [draws of the block, units]."""
    generator = np.random.default_rng(seed)
    step = max(1, _MAX_WEIGHT_CELLS // units)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        chosen = generator.integers(units, size=(rows, units))
        chosen += units * np.arange(rows)[:, None]
        yield np.bincount(chosen.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)


def _make_resample(sums: NDArray[np.float64], drawn: NDArray[np.float64]) -> Resample:
    whole = sums.sum(axis=0)
    squares = (sums**2).sum(axis=0)
    units = np.divide(whole**2, squares, out=np.ones_like(whole), where=squares > 0)
    observed = whole.astype(np.int64)
    return Resample(int(observed[0]), observed[1:], drawn[:, 0], drawn[:, 1:], units)


def _divide_or_nan(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)
