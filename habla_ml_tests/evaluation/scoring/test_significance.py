import numpy as np
import pytest

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring.significance import (
    compute_simultaneous_lower_bounds,
    compute_smallest_detectable,
    compute_units_to_show,
)
from habla_ml.evaluation.scoring.statistics import Counts, Draws, Estimate, compute_t_probability
from habla_ml_tests.testing.simulated_error_counts import ErrorSimulation, draw_test_set, resample_counts


def figure(value: float, drawn: np.ndarray, units: float = 1e9) -> Estimate:
    return Estimate(value, drawn, units)


def test_the_smallest_detectable_difference_is_two_quantiles_of_the_standard_error() -> None:
    drawn = np.random.default_rng(0).normal(0, 3, 200_000)
    assert compute_smallest_detectable(figure(0.0, drawn)) == pytest.approx((1.959964 + 0.841621) * 3, rel=0.01)
    few = compute_smallest_detectable(figure(0.0, drawn, units=5))
    assert few == pytest.approx((2.776445 + 0.940965) * 3 * (5 / 4) ** 0.5, rel=0.01)
    # With one degree of freedom the quantiles are 12.706 and 1.376; fewer than two units count as two.
    for units in (1.0, 2.0):
        fewest = compute_smallest_detectable(figure(0.0, drawn, units))
        assert fewest == pytest.approx((12.706205 + 1.376382) * 3 * 2**0.5, rel=0.01)
    assert compute_smallest_detectable(figure(0.0, np.zeros(100))) is None
    assert compute_smallest_detectable(None) is None


def test_a_true_difference_of_that_size_is_significant_about_as_often_as_the_power() -> None:
    error_model, sessions, rng = ErrorSimulation(), 16, np.random.default_rng(3)
    sizes = []
    for trial in range(20):
        size = compute_smallest_detectable(
            resample_counts(*draw_test_set(error_model, sessions, (0.0,), rng), 500, trial).point_change(0, 1)
        )
        assert size is not None
        sizes.append(size)
    true_improvement = float(np.mean(sizes)) / (100 * error_model.base_wer)
    significant = 0
    for trial in range(150):
        change = resample_counts(
            *draw_test_set(error_model, sessions, (true_improvement,), rng), 500, trial
        ).point_change(0, 1)
        assert change is not None
        significant += change.interval().high < 0
    assert 0.70 <= significant / 150 <= 0.95


def test_the_bound_of_one_slice_is_that_of_its_interval_and_bounds_of_many_are_wider() -> None:
    rng = np.random.default_rng(1)
    slices = [figure(1.0, rng.normal(1.0, 0.5, 20_000)) for _ in range(20)]
    alone, together = (
        compute_simultaneous_lower_bounds(slices[:1])[0],
        compute_simultaneous_lower_bounds(slices)[0],
    )
    assert alone == pytest.approx(slices[0].interval().low, abs=0.02)
    bonferroni = 1.0 - 3.0233 * 0.5
    assert together == pytest.approx(bonferroni, abs=0.06), (
        "independent slices widen the bound about as much as Bonferroni"
    )
    same = compute_simultaneous_lower_bounds([slices[0]] * 20)[0]
    assert same == pytest.approx(alone), "twenty equal slices do not widen the bound"


def test_a_constant_slice_keeps_its_value_and_unpaired_slices_are_refused() -> None:
    still, moving = figure(0.0, np.zeros(500)), figure(0.0, np.random.default_rng(0).normal(0, 1, 500))
    assert compute_simultaneous_lower_bounds([still]) == [0.0]
    bounds = compute_simultaneous_lower_bounds([still, moving])
    assert bounds[0] == 0.0
    assert bounds[1] < -1.5
    assert compute_simultaneous_lower_bounds([]) == []
    with pytest.raises(EvaluationError, match=r"\[100, 500\] draws"):
        compute_simultaneous_lower_bounds([moving, figure(0.0, np.zeros(100))])


def test_of_many_equal_slices_one_interval_often_excludes_zero_and_a_joint_bound_rarely() -> None:
    rng = np.random.default_rng(8)
    one_by_one = together = 0
    for trial in range(150):
        names, counts = draw_test_set(ErrorSimulation(), 20, (0.0,), rng)
        kind = rng.integers(0, 6, len(names))
        parts = [counts.select_rows(np.flatnonzero(kind == at).tolist()) for at in range(6)]
        changes = [each.point_change(0, 1) for each in Draws.of(names, 500, trial).resample(parts)]
        figures = [each for each in changes if each is not None]
        one_by_one += any(each.interval().low > 0 for each in figures)
        together += any(bound > 0 for bound in compute_simultaneous_lower_bounds(figures))
    assert one_by_one / 150 > 0.07
    assert together / 150 <= 0.06


def test_only_the_slice_that_became_much_worse_has_a_bound_above_zero() -> None:
    words = np.full(400, 8)
    rng = np.random.default_rng(4)
    base, candidate = rng.poisson(2.0, 400), rng.poisson(1.0, 400)
    quiet = np.arange(0, 400, 4)
    candidate[quiet] = rng.poisson(5.0, len(quiet))
    counts = Counts(words, np.column_stack([base, candidate]))
    parts = [counts.select_rows(np.arange(start, 400, 4).tolist()) for start in range(4)]
    changes = [
        each.point_change(0, 1) for each in Draws.of([str(at // 20) for at in range(400)], 1000, 1).resample(parts)
    ]
    bounds = compute_simultaneous_lower_bounds([each for each in changes if each is not None])
    assert bounds[0] > 5
    assert max(bounds[1:]) < 0


def test_the_planned_sessions_show_a_true_difference_in_four_of_five_cases() -> None:
    rng, level, difference = np.random.default_rng(5), 0.8, -3.0
    pilot = rng.normal(0, 9, 12)
    planned = compute_units_to_show(difference, float(pilot.std(ddof=1)) / 12**0.5, 12.0, level)
    assert planned is not None
    spread, shown = float(pilot.std(ddof=1)), 0
    for _ in range(2000):
        sample = rng.normal(difference, spread, planned)
        statistic = sample.mean() / (sample.std(ddof=1) / planned**0.5)
        shown += compute_t_probability(-statistic, planned - 1) >= level
    assert 0.76 <= shown / 2000 <= 0.88
    assert compute_units_to_show(-0.01, 2.0, 12.0, level) is None
    assert compute_units_to_show(-40.0, 2.0, 12.0, level) == 12
