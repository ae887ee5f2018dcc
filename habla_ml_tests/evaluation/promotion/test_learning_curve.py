"""The learning curve against known laws, and with few points."""

from __future__ import annotations

import numpy as np
import pytest

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.promotion.learning_curve import CurvePoint, LearningCurve, fit_learning_curve


def power_law_rate(hours: float, hours_scale: float = 3.0, exponent: float = 0.4) -> float:
    return 0.4 * float((1 + hours / hours_scale) ** -exponent)


def fit_to_law(hours: list[float], log_sd: float = 0.005) -> LearningCurve:
    points = [CurvePoint(f"v{at}", each, power_law_rate(each)) for at, each in enumerate(hours)]
    return fit_learning_curve(points, np.eye(len(hours)) * log_sd**2, seed_log_sd=log_sd)


def test_many_exact_points_recover_the_law() -> None:
    curve = fit_to_law([0, 2, 5, 10, 20, 40])
    expected = 1 - power_law_rate(60) / power_law_rate(40)
    found = curve.reduction(20)
    assert found.low <= expected <= found.high
    assert found.value == pytest.approx(expected, abs=0.03)
    assert curve.describe_fit(10).value == pytest.approx(power_law_rate(10), rel=0.03)


def test_few_points_give_wider_intervals_than_many() -> None:
    few, many = fit_to_law([0, 10]).reduction(10), fit_to_law([0, 2.5, 5, 7.5, 10]).reduction(10)
    assert few.high - few.low > many.high - many.low


def test_gains_grow_with_hours_at_a_falling_rate() -> None:
    curve = fit_to_law([0, 5, 10])
    gains = [curve.reduction(hours).value for hours in (5, 10, 20)]
    assert gains == sorted(gains)
    assert gains[1] - gains[0] < gains[0]
    assert curve.probability(20, 0.05) >= curve.probability(5, 0.05)


def test_noise_that_all_points_share_does_not_widen_the_forecast() -> None:
    points = [CurvePoint(str(each), each, power_law_rate(each)) for each in (0.0, 5.0, 10.0)]
    alone = fit_learning_curve(points, np.eye(3) * 0.01**2)
    shared = fit_learning_curve(points, np.eye(3) * 0.01**2 + 0.2**2)
    assert shared.reduction(10).high - shared.reduction(10).low == pytest.approx(
        alone.reduction(10).high - alone.reduction(10).low, rel=0.2
    )


def test_the_forecast_starts_from_the_measured_rate_of_the_newest_version() -> None:
    # A small model that learns a dialect within minutes: the published prior alone would put today at 29 %.
    points = [CurvePoint("base", 0, 0.455), CurvePoint("v1", 0.3, 0.24), CurvePoint("v2", 0.6, 0.224)]
    curve = fit_learning_curve(points, np.eye(3) * 0.04**2)
    found, gain = curve.wer(20), curve.reduction(20)
    assert curve.describe_fit(0.6).low <= 0.224 <= curve.describe_fit(0.6).high
    assert found.value == pytest.approx(0.224 * (1 - gain.value))
    assert found.low < found.value < 0.224
    assert curve.wer(0).value == pytest.approx(0.224, rel=0.02)


def test_points_that_follow_no_law_have_no_fit() -> None:
    rising = [CurvePoint("base", 0, 0.4), CurvePoint("v1", 5, 0.2), CurvePoint("v2", 10, 0.3)]
    assert (fit_learning_curve(rising, np.eye(3) * 0.02**2).explain_misfit() or "").startswith("There is no forecast")
    assert fit_learning_curve(rising, np.eye(3) * 0.2**2).explain_misfit() is None
    # The covariance of four sessions is too uncertain to refute a law.
    assert fit_learning_curve(rising, np.eye(3) * 0.02**2, freedom=1).explain_misfit() is None
    assert fit_to_law([0, 5, 10, 20]).explain_misfit() is None


def test_the_seed_explains_a_difference_of_two_versions_also_below_an_hour() -> None:
    points = [CurvePoint("base", 0, 0.4), CurvePoint("v1", 0.5, 0.30), CurvePoint("v2", 0.6, 0.32)]
    assert fit_learning_curve(points, np.eye(3) * 0.002**2).explain_misfit() is None
    assert fit_learning_curve(points, np.eye(3) * 0.002**2, seed_log_sd=0.002).explain_misfit() is not None


@pytest.mark.slow
def test_four_of_five_stated_intervals_hold_the_true_gain() -> None:
    random = np.random.default_rng(7)
    hours = np.array([0.0, 8.0, 16.0, 32.0])
    inside = 0
    for _ in range(400):
        scale, exponent = np.exp(random.uniform(np.log(0.3), np.log(30))), random.uniform(0.1, 0.9)
        actual = [power_law_rate(each, scale, exponent) * np.exp(0.03 * random.normal() * (each > 0)) for each in hours]
        seen = np.array(actual) * np.exp(0.03 * random.normal(size=4))
        points = [CurvePoint(str(each), each, rate) for each, rate in zip(hours, seen, strict=True)]
        found = fit_learning_curve(points, np.eye(4) * 0.03**2).reduction(16)
        then = power_law_rate(48, scale, exponent) * np.exp(0.03 * random.normal())
        inside += found.low <= 1 - then / actual[-1] <= found.high
    assert 300 <= inside <= 340


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([CurvePoint("base", 0, 0.4)], "two or more amounts"),
        ([CurvePoint("v1", 5, 0.4), CurvePoint("v2", 5, 0.3)], "two or more amounts"),
        ([CurvePoint("base", 0, 0.4), CurvePoint("v1", 5, 0.0)], "v1 has a WER of 0"),
    ],
)
def test_points_without_a_curve_are_refused(points: list[CurvePoint], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        fit_learning_curve(points, np.eye(len(points)))


def test_a_covariance_of_another_shape_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"shape \(3, 3\)"):
        fit_learning_curve([CurvePoint("base", 0, 0.4), CurvePoint("v1", 5, 0.3)], np.eye(3))


def test_a_newest_version_that_is_no_point_is_refused() -> None:
    points = [CurvePoint("base", 0, 0.4), CurvePoint("v1", 5, 0.3)]
    with pytest.raises(EvaluationError, match="newest version v2 is not among the points base, v1"):
        fit_learning_curve(points, np.eye(2), newest="v2")
