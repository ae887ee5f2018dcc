"""Curve points from stored evidence: counts, paired covariance, and models without a curve."""

from __future__ import annotations

import numpy as np
import pytest

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.promotion.curve_points import CurveModel, build_learning_curve, extract_curve_model
from habla_ml.evaluation.promotion.learning_curve import fit_learning_curve
from habla_ml.evaluation.scoring.alignment import ErrorCounts
from habla_ml_tests.testing.simulated_hypotheses import TEST_SETTINGS, make_comparison, make_utterances

SEED = 20260216


def model(name: str, hours: float, errors: list[int], words: int = 100) -> CurveModel:
    counts = {f"s{at}": ErrorCounts(substitutions=each, hits=words - each) for at, each in enumerate(errors)}
    return CurveModel(name, hours, counts)


@pytest.mark.parametrize("unit", ["session", "speaker"])
def test_the_counts_of_a_model_add_up_to_its_error_rate(unit: str) -> None:
    comparison = make_comparison(
        make_utterances(4, 6),
        {"base": 0.4, "candidate": 0.1},
        settings=TEST_SETTINGS.model_copy(update={"unit": unit}),
    )
    for each in comparison.models:
        counts = extract_curve_model(comparison, each.name, 0).counts
        assert len(counts) == (4 if unit == "session" else 2 + 4)
        assert sum(of.errors for of in counts.values()) == each.wer.counts.errors
        assert sum(of.reference_words for of in counts.values()) == comparison.test.words


def test_a_model_that_is_not_in_the_comparison_is_refused() -> None:
    comparison = make_comparison(make_utterances(2, 3), {"base": 0.4, "candidate": 0.1})
    with pytest.raises(EvaluationError, match="v7 is not in this comparison; its models are base, v2"):
        extract_curve_model(comparison, "v7", 10)


def test_points_have_hours_and_rates() -> None:
    curve = build_learning_curve([model("base", 0, [40, 50]), model("v1", 8, [20, 30])], 500, SEED)
    assert curve is not None
    assert [(each.name, each.hours, each.wer) for each in curve.points] == [("base", 0, 0.45), ("v1", 8, 0.25)]
    assert curve.newest.name == "v1"


def test_the_forecast_starts_from_the_newest_version_even_if_it_has_fewer_hours() -> None:
    models = [model("base", 0, [40, 50]), model("v1", 8, [20, 30]), model("v2", 6, [21, 30])]
    curve = build_learning_curve(models, 500, SEED, newest="v2")
    assert curve is not None
    assert curve.newest.hours == 6
    without_it = build_learning_curve(models, 500, SEED, newest="v9")
    assert without_it is not None
    assert without_it.newest.name == "v1", "a version without a point cannot start a forecast"


def test_the_fit_is_judged_with_as_many_degrees_of_freedom_as_there_are_sessions_less_one() -> None:
    """Points that follow no law, so that the p-value of the fit depends on the freedom: four sessions have three."""
    errors = np.array([[44, 50, 36, 47], [20, 27, 19, 24], [30, 33, 23, 36]])
    words = np.array([110, 90, 120, 80])
    models = []
    for at, found in enumerate(errors.tolist()):
        pairs = enumerate(zip(found, words.tolist(), strict=True))
        counts = {f"s{session}": ErrorCounts(substitutions=wrong, hits=of - wrong) for session, (wrong, of) in pairs}
        models.append(CurveModel(f"v{at}", 5.0 * at, counts))
    curve = build_learning_curve(models, 4000, SEED)
    assert curve is not None
    weights = np.random.default_rng(2).multinomial(4, [1 / 4] * 4, size=40_000)
    logs, effective = np.log(weights @ errors.T / (weights @ words)[:, None]), words.sum() ** 2 / (words**2).sum()
    covariance = np.cov(logs, rowvar=False) * effective / (effective - 1)
    expected = fit_learning_curve(curve.points, covariance, freedom=effective - 1).fit
    assert curve.fit == pytest.approx(expected, rel=0.1)


def test_sessions_that_are_hard_for_all_models_do_not_widen_the_forecast() -> None:
    base = np.array([20, 30, 40, 50, 60, 70])
    paired = build_learning_curve([model("base", 0, base.tolist()), model("v1", 10, (base // 2).tolist())], 2000, SEED)
    crossed = build_learning_curve(
        [model("base", 0, base.tolist()), model("v1", 10, (base[::-1] // 2).tolist())], 2000, SEED
    )
    assert paired is not None
    assert crossed is not None
    width = [each.wer(10).high / each.wer(10).low for each in (paired, crossed)]
    narrow, wide = (each.reduction(10).high - each.reduction(10).low for each in (paired, crossed))
    assert narrow < wide
    assert min(width) > 1


@pytest.mark.parametrize(
    "models",
    [
        [model("base", 0, [40, 50])],
        [model("v1", 8, [40, 50]), model("v2", 8, [30, 50])],
        [model("base", 0, [40, 50]), model("v1", 8, [0, 0])],
        [model("base", 0, [40]), model("v1", 8, [20])],
    ],
)
def test_models_that_do_not_determine_a_curve_give_none(models: list[CurveModel]) -> None:
    assert build_learning_curve(models, 200, SEED) is None


def test_models_on_different_words_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"v1 was scored on other words than base \(180 and 200\)"):
        build_learning_curve([model("base", 0, [40, 50]), model("v1", 8, [20, 30], words=90)], 200, SEED)
