"""The figures of a report, computed a second time from the texts and counts by other code: textbook formulas and scipy.

Nothing here calls the package for a figure. Bootstraps use another generator and another form of drawing (multinomial
weights), so the two agree within the Monte Carlo error of their quantiles: about 0.03 standard errors for 10,000 draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.metrics.confidence import compute_confidence_score
from habla_ml.evaluation.promotion.learning_curve import CurvePoint, fit_learning_curve
from habla_ml.evaluation.promotion.replacement import count_missing_sessions
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.evaluation.scoring.significance import compute_simultaneous_lower_bounds
from habla_ml.evaluation.scoring.statistics import Draws, Estimate, Interval
from habla_ml.settings import EvaluationSettings, PromotionSettings
from habla_ml_tests.testing.simulated_error_counts import (
    ErrorSimulation,
    draw_test_set,
    make_simulated_comparison,
    resample_counts,
)
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances, simulate_hypotheses

DRAWS = 10_000
RANKS = (1.8, 2.5, 3.2)
"""Percentiles between which a bound must lie: 2.5 with more than three Monte Carlo errors of two bootstraps."""


def count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Levenshtein distance, row by row."""
    row = list(range(len(hypothesis) + 1))
    for at, word in enumerate(reference, 1):
        diagonal, row[0] = row[0], at
        for to, other in enumerate(hypothesis, 1):
            diagonal, row[to] = row[to], min(row[to] + 1, row[to - 1] + 1, diagonal + (word != other))
    return row[-1]


@dataclass(frozen=True)
class Recomputed:
    """A ratio or difference with its 95 % interval; each bound as a range, for its Monte Carlo error."""

    value: float
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    error: float
    probability_below_zero: float
    units: float


def draw_sums(columns: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Sums of sessions drawn with replacement, by multinomial weights; shape [draws, columns]."""
    count = len(columns)
    weights = np.random.Generator(np.random.MT19937(seed)).multinomial(count, [1 / count] * count, size=draws)
    return weights @ columns


def recompute(
    value: float, drawn: np.ndarray, weights: np.ndarray, low: float = -np.inf, high: float = np.inf
) -> Recomputed:
    """Widen the percentile interval as Hesterberg (2015) does, with Kish's effective number of sessions."""
    units = max(2.0, weights.sum() ** 2 / (weights**2).sum())
    widening = stats.t.ppf(0.975, units - 1) / stats.norm.ppf(0.975) * np.sqrt(units / (units - 1))
    below, above = np.percentile(drawn, RANKS), np.percentile(drawn, [100 - each for each in reversed(RANKS)])
    share = np.clip(np.mean(drawn < 0) + np.mean(drawn == 0) / 2, 0.5 / len(drawn), 1 - 0.5 / len(drawn))
    return Recomputed(
        value,
        tuple(np.maximum(low, value - widening * np.maximum(0, value - below))),
        tuple(np.minimum(high, value + widening * np.maximum(0, above - value))),
        drawn.std() * np.sqrt(units / (units - 1)),
        float(stats.t.cdf(stats.norm.ppf(share) * np.sqrt((units - 1) / units), units - 1)),
        units,
    )


def assert_close(found: Interval | None, expected: Recomputed) -> None:
    assert found is not None
    assert found.value == pytest.approx(expected.value, abs=1e-9)
    assert expected.low[0] - 1e-9 <= found.low <= expected.low[2] + 1e-9
    assert expected.high[0] - 1e-9 <= found.high <= expected.high[2] + 1e-9


def sum_sessions(names: Sequence[str], columns: np.ndarray) -> np.ndarray:
    return np.array([columns[np.array(names) == name].sum(axis=0) for name in sorted(set(names))], dtype=float)


@pytest.mark.long
@pytest.mark.parametrize(("sessions", "per_session", "seed"), [(5, 8, 1), (16, 4, 3)])
def test_the_figures_of_a_comparison_follow_from_its_texts(sessions: int, per_session: int, seed: int) -> None:
    utterances = make_utterances(sessions, per_session, seed) + make_utterances(2, 9, seed + 50)
    rates = {"base": 0.4, "previous": 0.22, "candidate": 0.2}
    comparison = make_comparison(utterances, rates, settings=EvaluationSettings(bootstrap_draws=DRAWS))
    references = [each.sentence.lower().rstrip(".").split() for each in utterances]
    errors = np.column_stack(
        [
            [
                count_edits(reference, each.text.lower().replace(".", " ").split())
                for reference, each in zip(references, simulate_hypotheses(utterances, rate, at), strict=True)
            ]
            for at, rate in enumerate(rates.values())
        ]
    )
    words = np.array([len(each) for each in references])
    columns = sum_sessions([each.session_id for each in utterances], np.column_stack([words, errors]))
    totals, drawn = columns.sum(axis=0), draw_sums(columns, DRAWS, seed)
    for at, model in enumerate(comparison.models, 1):
        assert model.wer.value == pytest.approx(totals[at] / totals[0])
        rate = recompute(totals[at] / totals[0], drawn[:, at] / drawn[:, 0], columns[:, 0], 0.0)
        assert_close(model.wer.interval, rate)
    for role, before in (("base", 1), ("previous", 2)):
        change = comparison.change(role)
        assert change is not None
        relative = recompute(
            1 - totals[3] / totals[before], 1 - drawn[:, 3] / drawn[:, before], columns[:, before], high=1
        )
        assert_close(change.relative_improvement, relative)
        points = recompute(
            100 * (totals[3] - totals[before]) / totals[0],
            100 * (drawn[:, 3] - drawn[:, before]) / drawn[:, 0],
            columns[:, 0],
        )
        assert_close(change.points, points)
        evidence = change.superiority
        assert evidence is not None
        assert evidence.probability == pytest.approx(points.probability_below_zero, abs=0.015)
        assert evidence.standard_error_points == pytest.approx(points.error, rel=0.04)
        assert evidence.effective_units == pytest.approx(points.units)
        quantiles = stats.t.ppf(0.975, points.units - 1) + stats.t.ppf(0.8, points.units - 1)
        assert change.smallest_detectable_points == pytest.approx(quantiles * points.error, rel=0.04)
    check_slices(comparison, [each.loudness_dbfs < -35 for each in utterances], utterances, words, errors)
    check_missing_sessions(comparison)


def check_slices(
    comparison: Comparison, quiet: Sequence[bool], utterances: Sequence[Any], words: np.ndarray, errors: np.ndarray
) -> None:
    (found,) = [each for each in comparison.slices if each.name.startswith("quiet")]
    names = [each.session_id for each in utterances]
    chosen = np.array(quiet)
    rows = np.column_stack([words, errors]) * chosen[:, None]
    columns = sum_sessions(names, rows)
    totals, drawn = columns.sum(axis=0), draw_sums(columns, DRAWS, 99)
    drawn = drawn[drawn[:, 0] > 0]
    for at, rate in enumerate(found.rates, 1):
        assert_close(
            rate.rate.interval, recompute(totals[at] / totals[0], drawn[:, at] / drawn[:, 0], columns[:, 0], 0.0)
        )


def check_missing_sessions(comparison: Comparison) -> None:
    change = comparison.change("previous")
    assert change is not None
    missing = count_missing_sessions(comparison, change, 0.8)
    points, evidence = change.points, change.superiority
    assert points is not None
    assert evidence is not None
    if points.value >= 0:
        assert missing is None
        return
    now = evidence.effective_units
    needed = next(
        (
            units
            for units in range(int(np.ceil(now)), 5001)
            if -points.value >= 2 * stats.t.ppf(0.8, units - 1) * evidence.standard_error_points * np.sqrt(now / units)
        ),
        None,
    )
    sessions = comparison.test.sessions
    assert missing == (None if needed is None else max(1, int(np.ceil(sessions * needed / now)) - sessions))


@cache
def make_small_comparison() -> Comparison:
    return make_comparison(make_utterances(6, 4), {"base": 0.4, "candidate": 0.2}).model_copy(
        update={"slices": (), "examples": (), "confusions": (), "dialect_features": ()}
    )


def recompute_verdict(names: Sequence[str], words: np.ndarray, errors: np.ndarray, seed: int) -> str | None:
    """Apply the published table to counts of base, release and candidate; None where a figure is near its bound."""
    columns = sum_sessions(names, np.column_stack([words, errors]))
    totals, drawn = columns.sum(axis=0), draw_sums(columns, 4000, seed)
    relative = recompute(1 - totals[3] / totals[1], 1 - drawn[:, 3] / np.maximum(drawn[:, 1], 1), columns[:, 1], high=1)
    points = recompute(totals[3] - totals[1], (drawn[:, 3] - drawn[:, 1]) / drawn[:, 0] * totals[0], columns[:, 0])
    released = recompute(totals[3] - totals[2], (drawn[:, 3] - drawn[:, 2]) / drawn[:, 0], columns[:, 0])
    if min(abs(relative.low[1]) / relative.error, abs(points.high[1]) / points.error) < 0.3:
        return None
    if abs(released.probability_below_zero - 0.8) < 0.03:
        return None
    if relative.low[1] <= 0 or points.high[1] >= 0:
        return "refuse"
    if released.probability_below_zero < 0.8:
        return "keep"
    if len(columns) < 5 or released.units < 4 or totals[0] < 200 or relative.value <= 0.3:
        return "collect_more"
    return "deploy"


@pytest.mark.long
def test_the_verdict_follows_from_the_counts() -> None:
    rng, seen = np.random.default_rng(12), []
    for trial in range(90):
        sessions = int(rng.integers(4, 14))
        simulated = ErrorSimulation(words_per_session=int(rng.integers(40, 120)), words_spread=rng.uniform(0.1, 0.9))
        base, better = rng.uniform(0.0, 0.5), rng.uniform(-0.1, 0.3)
        names, counts = draw_test_set(simulated, sessions, (base, base + better), rng)
        expected = recompute_verdict(names, counts.words, counts.errors, trial)
        if expected is None:
            continue
        drawn = resample_counts(names, counts, 1500, trial)
        found = decide(
            make_simulated_comparison(make_small_comparison(), drawn, sessions, 2, release=1), PromotionSettings()
        )
        assert found.verdict == expected, (trial, found.reasons)
        seen.append(expected)
    assert min(seen.count(each) for each in ("refuse", "keep", "collect_more", "deploy")) >= 4, Counter(seen)


def test_joint_bounds_of_slices_are_those_of_the_largest_statistic() -> None:
    rng = np.random.default_rng(6)
    sums = rng.poisson([[60.0] * 4 + [6.0] * 4] * 9) + rng.poisson(3.0, (9, 8))
    words, errors = sums[:, :4].astype(float), sums[:, 4:].astype(float)
    drawn = draw_sums(np.column_stack([words, errors]), 20_000, 3)
    rates = drawn[:, 4:] / drawn[:, :4]
    values = errors.sum(axis=0) / words.sum(axis=0)
    units = words.sum(axis=0) ** 2 / (words**2).sum(axis=0)
    found = compute_simultaneous_lower_bounds([Estimate(values[at], rates[:, at], float(units[at])) for at in range(4)])
    critical = np.quantile(((values - rates) / rates.std(axis=0)).max(axis=1), 0.975)
    level = stats.norm.cdf(critical)
    widened = stats.t.ppf(level, units - 1) * np.sqrt(units / (units - 1))
    assert found == pytest.approx(values - widened * rates.std(axis=0), rel=1e-6)


def recompute_reduction(
    hours: np.ndarray, rates: np.ndarray, covariance: np.ndarray, seed_sd: float, more: float
) -> np.ndarray:
    """Reductions under the posterior, by weighting draws of the prior; each draw has its own seed effects."""
    rng, draws = np.random.default_rng(8), 300_000
    normal = stats.truncnorm(-2.5, 2.5).rvs((2, draws), random_state=rng)
    scale, exponent = 3.0 * np.exp(1.7 * normal[0]), 0.35 * np.exp(0.6 * normal[1])
    shares = np.linspace(0, 0.7, 8)
    floor = rng.choice(shares, draws, p=(0.8 - shares) / (0.8 - shares).sum())

    def law(at: float | np.ndarray) -> np.ndarray:
        return floor + (1 - floor) * (1 + np.asarray(at) / scale) ** -exponent

    shape = np.log(np.stack([law(each) for each in hours], axis=1))
    # A flat prior on ln E(0) is a very wide normal one, so that the rest is one normal distribution.
    trained = np.where(hours > 0, seed_sd**2, 1e-8)
    noise = covariance + np.diag(trained)
    wide = noise + 1e3
    weights = np.exp(stats.multivariate_normal(np.zeros(len(hours)), wide).logpdf(np.log(rates) + 1 - shape))
    chosen = rng.choice(draws, 60_000, p=weights / weights.sum())
    residual = (np.log(rates) + 1 - shape)[chosen]
    last = len(hours) - 1
    # The seed's part of the newest rate, given all points, with ln E(0) integrated out.
    gain = trained[last] * np.linalg.inv(wide)[last]
    spread = np.sqrt(max(0.0, trained[last] - gain[last] * trained[last]))
    effect = residual @ gain + spread * rng.standard_normal(len(chosen))
    later = seed_sd * rng.standard_normal(len(chosen))
    ratio = law(hours[last] + more)[chosen] / law(hours[last])[chosen]
    return 1 - ratio * np.exp(later - effect)


@pytest.mark.parametrize("trial", range(3))
def test_a_forecast_is_that_of_the_weighted_prior(trial: int) -> None:
    rng = np.random.default_rng(trial)
    hours = np.array([(0.0, 6.0), (0.0, 2.0, 9.0), (0.0, 3.0, 10.0, 25.0)][trial])
    rates = 0.42 * (0.1 + 0.9 * (1 + hours / 4.0) ** -0.5) * np.exp(rng.normal(0, 0.03, len(hours)))
    half = rng.normal(0, 0.03, (len(hours), len(hours)))
    covariance = half @ half.T + 0.02**2 * np.eye(len(hours)) + 0.05**2
    points = [CurvePoint(f"v{at}", hour, rate) for at, (hour, rate) in enumerate(zip(hours, rates, strict=True))]
    curve, expected = fit_learning_curve(points, covariance), recompute_reduction(hours, rates, covariance, 0.03, 15.0)
    found = curve.reduction(15.0)
    assert [found.low, found.value, found.high] == pytest.approx(np.quantile(expected, [0.1, 0.5, 0.9]), abs=0.012)
    assert curve.probability(15.0, 0.15) == pytest.approx(np.mean(expected >= 0.15), abs=0.03)


def compute_plain_calibration_error(confidence: np.ndarray, written: np.ndarray, hits: np.ndarray) -> float:
    """Mean distance of confidence and accuracy over ten bins, clip by clip."""
    total = 0.0
    for at in range(10):
        chosen = (confidence >= at / 10) & ((confidence < (at + 1) / 10) | (at == 9))
        total += abs((confidence * written)[chosen].sum() - hits[chosen].sum())
    return float(total / written.sum())


@pytest.mark.parametrize("seed", range(3))
def test_calibration_and_detection_are_those_of_plain_loops_and_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, written = rng.uniform(0.3, 1.0, 90), rng.integers(1, 12, 90)
    hits = rng.binomial(written, np.clip(confidence - 0.1, 0, 1))
    errors, names = written - hits + rng.poisson(0.3, 90), [f"s{at % 9}" for at in range(90)]
    found = compute_confidence_score(confidence, written, hits, errors, Draws.of(names, DRAWS, 5), range(90))
    wrong, right = confidence[errors > 0], confidence[errors == 0]
    assert found.error_detection is not None
    area = stats.mannwhitneyu(right, wrong).statistic / len(right) / len(wrong)
    assert found.error_detection.value == pytest.approx(area)
    order = np.argsort(confidence)
    assert found.errors_in_least_confident is not None
    assert found.errors_in_least_confident.value == pytest.approx(errors[order[:18]].sum() / errors.sum())
    plain = compute_plain_calibration_error(confidence, written, hits)
    sessions = [np.flatnonzero(np.array(names) == name) for name in sorted(set(names))]
    drawn, areas = [], []
    for _ in range(1500):
        rows = np.concatenate([sessions[at] for at in rng.integers(len(sessions), size=len(sessions))])
        drawn.append(compute_plain_calibration_error(confidence[rows], written[rows], hits[rows]))
        faulty = errors[rows] > 0
        ranks = stats.rankdata(confidence[rows])
        areas.append(1 - (ranks[faulty].sum() / faulty.sum() - (faulty.sum() + 1) / 2) / (~faulty).sum())
    bias = np.mean(drawn) - plain
    weights = np.full(9, 10.0)
    corrected = recompute(plain - bias, np.array(drawn) - 2 * bias, weights, 0.0, 1.0)
    assert found.calibration_error.value == pytest.approx(corrected.value, abs=0.15 * corrected.error)
    assert found.calibration_error.high == pytest.approx(corrected.high[1], abs=0.3 * corrected.error)
    detection = recompute(area, np.array(areas), weights, 0.0, 1.0)
    assert found.error_detection.low == pytest.approx(detection.low[1], abs=0.3 * detection.error)
