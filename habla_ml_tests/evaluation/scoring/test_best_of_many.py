"""The best of several equally good candidates looks too good by the expected maximum of their errors."""

from __future__ import annotations

import numpy as np
import pytest

from habla_ml.evaluation.scoring.best_of_many import compute_expected_maximum, extend_covariance


def equal(size: int, variance: float, correlation: float) -> np.ndarray:
    return variance * (correlation + (1 - correlation) * np.eye(size))


@pytest.mark.parametrize(
    ("size", "expected"),
    # Harter (1961), table 1.
    [(1, 0.0), (2, 0.56419), (5, 1.16296), (10, 1.53875), (20, 1.86748)],
)
def test_independent_errors_have_the_expected_maximum_of_order_statistics(size: int, expected: float) -> None:
    assert compute_expected_maximum(np.eye(size)) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_what_all_candidates_have_in_common_makes_none_of_them_lucky(correlation: float) -> None:
    found = compute_expected_maximum(equal(20, 9.0, correlation))
    assert found == pytest.approx(1.86748 * 3 * (1 - correlation) ** 0.5, rel=0.01)


def test_equal_errors_have_no_best() -> None:
    assert compute_expected_maximum(equal(5, 4.0, 1.0)) == pytest.approx(0.0, abs=1e-6)


def test_a_candidate_of_larger_variance_is_more_often_the_luckiest() -> None:
    # E max(X, Y) = sqrt((v + w) / 2π) for independent X and Y.
    assert compute_expected_maximum(np.diag([1.0, 9.0])) == pytest.approx((10 / (2 * np.pi)) ** 0.5, rel=0.02)


def test_unknown_candidates_vary_and_correlate_like_the_known_ones() -> None:
    known = np.array([[4.0, 1.0], [1.0, 2.0]])
    found = extend_covariance(known, 4)
    assert found[:2, :2].tolist() == known.tolist()
    assert found[2:, 2:].tolist() == [[3.0, 1.0], [1.0, 3.0]]
    assert set(found[:2, 2:].ravel()) == {1.0}
