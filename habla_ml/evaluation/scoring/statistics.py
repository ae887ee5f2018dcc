"""Confidence intervals by a paired bootstrap over sessions.

Utterances of one session share acoustics, microphone and speakers, so they are not independent. Whole sessions (or
speakers) are drawn with replacement, and every model, metric and slice uses the same draws (Bisani and Ney, Bootstrap
estimates for confidence intervals in ASR performance evaluation, ICASSP 2004). Only counts are drawn, never texts.

With few sessions a percentile interval is too narrow: with five, it excludes the true value about three times as often
as it should. It is therefore widened around the measured value by sqrt(n / (n - 1)) and by the ratio of Student's t to
the normal quantile (Hesterberg, What teachers should know about the bootstrap, The American Statistician 69 (2015),
371-386). Here n is the effective number of sessions, (sum w)^2 / sum w^2 over their weights (Kish, Survey sampling,
1965), because ten sessions of which one has most words are not ten. `benchmarks/bench_calibration.py` measures the
coverage.

Without any difference between the draws (no error in any session) a bootstrap claims certainty. The interval is then
exact: Clopper and Pearson's with an effective number of words (Korn and Graubard, Confidence intervals for proportions
with small expected number of positive counts estimated from survey data, Survey Methodology 24 (1998), 193-201). Errors
that did not occur show no correlation, so `_ASSUMED_CORRELATION` within a session is assumed.
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
INTERVAL_RULE = "percentile-t-3"
"""Change it whenever the same counts and draws may give another interval."""

_MAX_WEIGHT_CELLS = 4_000_000
"""Weights in memory, draws x units."""
_MAX_SUM_CELLS = 16_000_000
"""Sums of units in memory, units x columns."""
_MAX_DRAWS_WITHIN_UNIT = 1000
_MIN_UNITS = 2.0
_ASSUMED_CORRELATION = 0.1
"""Intraclass correlation of errors in a unit, for counts that do not show it; word errors of sessions have about 0.03."""


@dataclass(frozen=True)
class Interval:
    """A measured value and its 95 % interval."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A value with its bootstrap draws, from which its interval is computed."""

    value: float
    drawn: NDArray[np.float64]
    """Shape [draws]; NaN if a draw has no unit of the slice."""
    units: float
    """Effective number of units, at least 1."""
    floor: float = -np.inf
    ceiling: float = np.inf
    """Bounds of the interval."""
    trials: float = np.inf
    """Effective number of words, at least 1; its inverse bounds what a sample without any error can show."""
    scale: float = 1.0
    """Value of a share of 1: 100 for points."""

    @cached_property
    def standard_error(self) -> float:
        """The standard error of the value, corrected for few units."""
        units = max(self.units, _MIN_UNITS)
        return float(np.nanstd(self.drawn) * np.sqrt(units / (units - 1)))

    def interval(self) -> Interval:
        """Return the percentile interval, widened for few units; an exact one if no two draws differ."""
        if float(np.nanmin(self.drawn)) == float(np.nanmax(self.drawn)):
            return self._compute_exact_interval()
        tail = (1 - CONFIDENCE_LEVEL) / 2
        low, high = np.quantile(self.drawn[~np.isnan(self.drawn)], [tail, 1 - tail])
        wider = compute_widening(1 - tail, self.units)
        below, above = max(self.value - float(low), 0.0), max(float(high) - self.value, 0.0)
        return Interval(
            low=max(self.floor, self.value - wider * below),
            value=self.value,
            high=min(self.ceiling, self.value + wider * above),
        )

    def _compute_exact_interval(self) -> Interval:
        if self.floor == 0 and self.value <= self.scale:
            low, high = compute_share_bounds(self.value / self.scale, self.trials)
            return Interval(self.scale * low, self.value, self.scale * high)
        margin = self.scale * compute_share_bounds(0.0, self.trials)[1]
        return Interval(max(self.floor, self.value - margin), self.value, min(self.ceiling, self.value + margin))

    def compute_probability_below(self, bound: float) -> float:
        """Return the probability that the true value is below `bound`, as the intervals are widened for few units.

        The share of draws below `bound` (ties count half) has the normal quantile z. With n effective units the
        bootstrap's standard error is too small by sqrt((n - 1) / n), and the ratio follows Student's t. The probability
        is therefore that of t = z sqrt((n - 1) / n) with n - 1 degrees of freedom: it is above a level exactly where the
        interval of that level, if it was one of a normal distribution, is below `bound`.
        """
        drawn = self.drawn[~np.isnan(self.drawn)]
        below = float(np.count_nonzero(drawn < bound) + np.count_nonzero(drawn == bound) / 2)
        share = min(max(below, 0.5), len(drawn) - 0.5) / len(drawn)
        units = max(self.units, _MIN_UNITS)
        return compute_t_probability(NormalDist().inv_cdf(share) * math.sqrt((units - 1) / units), units - 1)


@dataclass(frozen=True)
class Counts:
    """The counts of each utterance of a set or slice, for every model."""

    words: NDArray[np.int64]
    """Denominators: reference words, characters or clips; shape [utterances]."""
    errors: NDArray[np.int64]
    """Numerators, shape [utterances, models]."""
    rows: NDArray[np.intp] | None = None
    """Index of each utterance in the drawn set; None means the whole set in order."""

    def select_rows(self, rows: Sequence[int]) -> Counts:
        """Return the counts of some utterances of the set."""
        chosen = np.asarray(rows, dtype=np.intp)
        return Counts(self.words[chosen], self.errors[chosen], chosen)


@dataclass(frozen=True)
class Resample:
    """Totals over the observed units and over each bootstrap draw of them."""

    words: int
    errors: NDArray[np.int64]
    """Shape [models]."""
    drawn_words: NDArray[np.float64]
    """Shape [draws]; 0 if a draw has no unit of the slice."""
    drawn_errors: NDArray[np.float64]
    """Shape [draws, models]."""
    units: NDArray[np.float64]
    """Effective number of units by words, then by the errors of each model, shape [1 + models]."""

    @property
    def trials(self) -> float:
        """Effective number of words, see `compute_trials`."""
        return compute_trials(self.words, float(self.units[0]))

    def rate(self, model: int) -> Estimate | None:
        """Return the error rate of a model; None without reference words."""
        if not self.words:
            return None
        drawn = _divide_or_nan(self.drawn_errors[:, model], self.drawn_words)
        value = int(self.errors[model]) / self.words
        ceiling = max(1.0, float(np.nanmax(drawn)))
        return Estimate(value, drawn, float(self.units[0]), floor=0.0, ceiling=ceiling, trials=self.trials)

    def relative_improvement(self, before: int, after: int) -> Estimate | None:
        """Return by which share `after` has fewer errors than `before`: 0.4 is 40 % fewer. None without words.

        If `before` has no error, it counts as one, so that every error of `after` is a loss.
        """
        if not self.words:
            return None
        old, new = int(self.errors[before]), int(self.errors[after])
        drawn_old, drawn_new = self.drawn_errors[:, before], self.drawn_errors[:, after]
        drawn = (drawn_old - drawn_new) / np.maximum(drawn_old, 1)
        drawn = np.where(self.drawn_words > 0, drawn, np.nan)
        return Estimate((old - new) / max(old, 1), drawn, float(self.units[1 + before]), ceiling=1.0)

    def point_change(self, before: int, after: int) -> Estimate | None:
        """Return the rate of `after` minus that of `before` in points (x 100): above 0 is worse. None without words."""
        if not self.words:
            return None
        change = 100 * int(self.errors[after] - self.errors[before]) / self.words
        drawn = 100 * _divide_or_nan(self.drawn_errors[:, after] - self.drawn_errors[:, before], self.drawn_words)
        return Estimate(change, drawn, float(self.units[0]), trials=self.trials, scale=100.0)


@dataclass(frozen=True)
class Draws:
    """Bootstrap draws of the units of a set of utterances, the same for every figure of the set.

    The weights are drawn from the seed again at each use, block by block, so that memory is bounded.
    """

    unit: NDArray[np.intp]
    """Unit number of each utterance."""
    draws: int
    seed: int

    @classmethod
    def of(cls, units: Sequence[str], draws: int, seed: int) -> Draws:
        """Draw the units; `units` has the session or speaker of each utterance."""
        _, index = np.unique(np.asarray(units, dtype=object).astype(str), return_inverse=True)
        return cls(index.astype(np.intp), draws, seed)

    def has_several_units(self, rows: Sequence[int]) -> bool:
        """Return whether these utterances of the set are of two or more units."""
        return len(np.unique(self.unit[np.asarray(rows, dtype=np.intp)])) > 1

    def resample(self, tables: Sequence[Counts]) -> list[Resample]:
        """Return the totals of each table, all on the same draws.

        If all utterances of a table are of one unit, they are drawn one by one, because an interval of no width would
        claim certainty. Such an interval holds for that one session only. It uses a thousand draws at most, so it
        cannot be paired with others by mistake.

        Raises:
            EvaluationError: A table has different numbers of words, errors and utterances.
        """
        found: dict[int, Resample] = {}
        units = int(self.unit.max()) + 1 if len(self.unit) else 0
        waiting: dict[int, list[_UnitSums]] = {}
        for index, table in enumerate(tables):
            unit = self._get_units(table)
            columns = np.column_stack([table.words, table.errors]).astype(np.float64)
            alone = len(columns) > 1 and bool((unit == unit[0]).all())
            draws = min(self.draws, _MAX_DRAWS_WITHIN_UNIT) if alone else self.draws
            summed = _UnitSums(index, columns if alone else _sum_by_unit(unit, columns, units), draws)
            # Tables with equally many units share their weights; so do tables of single utterances.
            key = len(columns) if alone else 0
            waiting.setdefault(key, []).append(summed)
            if sum(each.sums.size for each in waiting[key]) > _MAX_SUM_CELLS:
                found.update(_draw_together(waiting.pop(key), self.seed))
        for group in waiting.values():
            found.update(_draw_together(group, self.seed))
        return [found[index] for index in range(len(tables))]

    def _get_units(self, table: Counts) -> NDArray[np.intp]:
        unit = self.unit if table.rows is None else self.unit[table.rows]
        if not len(unit) == len(table.words) == len(table.errors):
            raise EvaluationError(
                f"{len(unit)} utterances, {len(table.words)} word counts and {len(table.errors)} error counts "
                "differ in number; pass one of each for every utterance"
            )
        return unit


def to_interval(figure: Estimate | None) -> Interval | None:
    """Return the interval of a figure, or None without a figure."""
    return None if figure is None else figure.interval()


def compute_trials(words: float, units: float) -> float:
    """Return the effective number of words in `units`, if errors of one unit have the assumed correlation; at least 1."""
    in_a_unit = words / max(units, 1.0)
    return max(1.0, words / (1 + max(in_a_unit - 1, 0.0) * _ASSUMED_CORRELATION))


def compute_share_bounds(share: float, trials: float) -> tuple[float, float]:
    """Return Clopper and Pearson's exact 95 % bounds of a share that was observed in `trials`, not necessarily whole."""
    from scipy.special import betaincinv

    tail, count = (1 - CONFIDENCE_LEVEL) / 2, share * trials
    if np.isinf(trials):
        return share, share
    low = float(betaincinv(count, trials - count + 1, tail)) if count > 0 else 0.0
    high = float(betaincinv(count + 1, trials - count, 1 - tail)) if count < trials else 1.0
    return low, high


def compute_widening(level: float, units: float) -> float:
    """Return the factor that widens a normal-theory interval for few units; `level` is one-sided, above 1/2."""
    units = max(units, _MIN_UNITS)
    return compute_t_quantile(level, units - 1) / NormalDist().inv_cdf(level) * math.sqrt(units / (units - 1))


@lru_cache(maxsize=4096)
def compute_t_quantile(level: float, freedom: float) -> float:
    """Return the quantile of Student's t with `freedom` >= 1 degrees, not necessarily whole."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, level))


def compute_t_probability(quantile: float, freedom: float) -> float:
    """Return the probability that Student's t with `freedom` >= 1 degrees is below `quantile`."""
    from scipy.special import stdtr

    return float(stdtr(freedom, quantile))


def _sum_by_unit(unit: NDArray[np.intp], columns: NDArray[np.float64], units: int) -> NDArray[np.float64]:
    """Sum the columns over the utterances of each unit, shape [units, columns]."""
    sums = [np.bincount(unit, weights=columns[:, at], minlength=units) for at in range(columns.shape[1])]
    return np.column_stack(sums).astype(np.float64)


@dataclass(frozen=True)
class _UnitSums:
    """The sums of a table by unit, shape [units, columns]; `index` is that of the table."""

    index: int
    sums: NDArray[np.float64]
    draws: int


def _draw_together(group: Sequence[_UnitSums], seed: int) -> dict[int, Resample]:
    """Draw tables over the same units at once; return table index → totals."""
    sums = np.column_stack([each.sums for each in group])
    drawn = np.zeros((group[0].draws, sums.shape[1]))
    if len(sums):
        drawn = np.concatenate([weights @ sums for weights in _draw_weights(len(sums), group[0].draws, seed)])
    found, at = {}, 0
    for each in group:
        width = each.sums.shape[1]
        found[each.index] = _make_resample(each.sums, drawn[:, at : at + width])
        at += width
    return found


def _draw_weights(units: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each unit is in each draw, in blocks of shape [draws of the block, units]."""
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
