from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring import statistics
from habla_ml.evaluation.scoring.statistics import (
    Counts,
    Draws,
    Estimate,
    Interval,
    Resample,
    compute_share_bounds,
    compute_t_quantile,
    compute_widening,
)

TWO = (["a", "a", "b"], [5, 5, 10], np.array([[0, 1], [0, 1], [10, 8]]))


def draw_counts(
    units: Sequence[str], words: Sequence[int], errors: np.ndarray, draws: int = 500, seed: int = 1
) -> Resample:
    return Draws.of(units, draws, seed).resample([Counts(np.array(words, np.int64), errors.astype(np.int64))])[0]


def require_interval(figure: Estimate | None) -> Interval:
    assert figure is not None
    return figure.interval()


def test_values_are_fractions_of_the_whole_set() -> None:
    found = draw_counts(*TWO)
    assert require_interval(found.rate(0)).value == pytest.approx(10 / 20)
    assert require_interval(found.point_change(0, 1)).value == pytest.approx(0.0)
    assert require_interval(found.relative_improvement(0, 1)).value == pytest.approx(0.0)


def test_doubling_every_utterance_of_a_session_does_not_narrow_the_interval() -> None:
    names, words, errors = TWO
    assert require_interval(draw_counts(*TWO).rate(0)) == require_interval(
        draw_counts(names * 2, words * 2, np.tile(errors, (2, 1))).rate(0)
    )


def test_a_model_against_itself_has_no_change_and_no_certainty() -> None:
    found = draw_counts(TWO[0], TWO[1], np.array([[1, 1], [2, 2], [10, 10]]))
    change = require_interval(found.point_change(0, 1))
    assert change.value == 0
    assert -100 < change.low == -change.high < 0


def test_no_error_in_five_sessions_has_the_exact_interval_of_its_effective_words() -> None:
    sessions = [f"s{at}" for at in range(5) for _ in range(4)]
    found = draw_counts(sessions, [8] * 20, np.zeros((20, 2), int))
    # 32 words a session with a correlation of 0.1 count as 7.8 words.
    trials = 160 / (1 + 31 * 0.1)
    none, change = require_interval(found.rate(0)), require_interval(found.point_change(0, 1))
    assert (none.low, none.value) == (0.0, 0.0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / trials))
    assert none.high == pytest.approx(0.0902, abs=1e-4)
    assert (change.low, change.value, change.high) == (-100 * none.high, 0.0, 100 * none.high)
    every = require_interval(draw_counts(sessions, [8] * 20, np.full((20, 1), 8)).rate(0))
    assert (every.low, every.high) == (pytest.approx(1 - none.high), 1.0)


def test_exact_bounds_equal_those_of_scipy_for_whole_counts() -> None:
    for count, of in ((0, 30), (3, 60), (17, 40), (30, 30)):
        expected = binomtest(count, of).proportion_ci(method="exact")
        assert compute_share_bounds(count / of, of) == pytest.approx((expected.low, expected.high))


def test_a_paired_interval_shows_a_small_steady_gain_although_the_single_intervals_overlap() -> None:
    before = np.random.default_rng(5).integers(5, 60, 30)
    found = draw_counts([str(at) for at in range(30)], [100] * 30, np.column_stack([before, before - 3]), 2000)
    assert require_interval(found.rate(1)).high > require_interval(found.rate(0)).low, "the two intervals overlap"
    assert require_interval(found.relative_improvement(0, 1)).low > 0


def test_the_interval_depends_on_the_seed_and_not_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    names, errors = [str(at % 50) for at in range(500)], np.random.default_rng(1).integers(0, 4, (500, 2))
    one_block = require_interval(draw_counts(names, [6] * 500, errors, 1000, 9).rate(1))
    assert one_block != require_interval(draw_counts(names, [6] * 500, errors, 1000, 10).rate(1))
    monkeypatch.setattr(statistics, "_MAX_WEIGHT_CELLS", 777)
    monkeypatch.setattr(statistics, "_MAX_SUM_CELLS", 60)
    assert require_interval(draw_counts(names, [6] * 500, errors, 1000, 9).rate(1)) == one_block


def test_every_table_uses_the_same_draws_with_and_without_other_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    draws = Draws.of([str(at % 12) for at in range(240)], 400, 3)
    whole = Counts(rng.integers(3, 9, 240), rng.integers(0, 3, (240, 2)))
    quiet = np.flatnonzero(rng.random(240) < 0.3).tolist()
    loud = sorted(set(range(240)) - set(quiet))
    together = draws.resample([whole, whole.select_rows(quiet), whole.select_rows(loud)])
    assert np.array_equal(together[1].drawn_errors + together[2].drawn_errors, together[0].drawn_errors)
    assert np.array_equal(together[1].drawn_words + together[2].drawn_words, together[0].drawn_words)
    monkeypatch.setattr(statistics, "_MAX_SUM_CELLS", 1)
    apart = draws.resample([whole, whole.select_rows(quiet), whole.select_rows(loud)])
    assert all(np.array_equal(a.drawn_errors, b.drawn_errors) for a, b in zip(together, apart, strict=True))


def test_a_draw_without_a_unit_of_the_slice_is_excluded() -> None:
    draws = Draws.of([str(at) for at in range(10)], 2000, 1)
    counts = Counts(np.full(10, 5), np.arange(10)[:, None]).select_rows([3, 7])
    found = draws.resample([counts])[0]
    rate = found.rate(0)
    assert rate is not None
    empty = np.mean(np.isnan(rate.drawn))
    assert empty == pytest.approx(0.8**10, abs=0.03)
    assert set(np.unique(rate.drawn[~np.isnan(rate.drawn)])) >= {3 / 5, 7 / 5}
    assert rate.units == pytest.approx(2.0)


def test_one_session_is_drawn_utterance_by_utterance() -> None:
    words, errors = np.full(20, 5), np.random.default_rng(0).integers(0, 4, (20, 1))
    alone = draw_counts(["only"] * 20, words.tolist(), errors)
    each = draw_counts([f"{at:02d}" for at in range(20)], words.tolist(), errors)
    assert require_interval(alone.rate(0)) == require_interval(each.rate(0))
    assert require_interval(alone.rate(0)).low < require_interval(alone.rate(0)).value
    many = draw_counts(["only"] * 20, words.tolist(), errors, draws=5000).rate(0)
    assert many is not None
    assert len(many.drawn) == 1000, "so that it cannot be paired with figures over sessions"


def test_without_reference_words_there_is_no_figure() -> None:
    for found in (
        draw_counts([], [], np.zeros((0, 2))),
        draw_counts(["a", "b"], [0, 0], np.array([[1, 0], [2, 0]])),
    ):
        assert found.rate(0) is None
        assert found.relative_improvement(0, 1) is None
        assert found.point_change(0, 1) is None


def test_a_session_without_words_still_counts_its_insertions() -> None:
    assert require_interval(draw_counts(["a", "b"], [10, 0], np.array([[1], [2]])).rate(0)).value == pytest.approx(
        3 / 10
    )


def test_no_model_improves_on_one_without_errors() -> None:
    found = draw_counts(["a", "b", "c"], [10, 10, 10], np.array([[0, 0, 2]] * 3))
    assert require_interval(found.relative_improvement(0, 1)).value == 0.0
    assert require_interval(found.relative_improvement(0, 2)).high < 0


def test_counts_of_different_lengths_are_refused() -> None:
    with pytest.raises(EvaluationError, match="2 utterances, 1 word counts and 2 error counts"):
        draw_counts(["a", "b"], [1], np.zeros((2, 1)))


def test_quantiles_of_students_t_equal_the_published_table() -> None:
    published = {
        (0.975, 1): 12.7062,
        (0.975, 5): 2.5706,
        (0.8, 10): 0.8791,
        (0.95, 30): 1.6973,
        (0.975, 1e6): 1.9600,
    }
    for (level, freedom), value in published.items():
        assert compute_t_quantile(level, freedom) == pytest.approx(value, abs=1e-4)
    assert compute_t_quantile(0.975, 4) > compute_t_quantile(0.975, 4.5) > compute_t_quantile(0.975, 5)


def test_few_and_uneven_sessions_widen_an_interval_and_many_do_not() -> None:
    assert compute_widening(0.975, 5) == pytest.approx(2.776445 / 1.959964 * (5 / 4) ** 0.5, rel=1e-5)
    assert compute_widening(0.975, 10_000) == pytest.approx(1.0, abs=1e-3)
    assert compute_widening(0.975, 1.2) == compute_widening(0.975, 2), "bounded below two units"
    errors = np.random.default_rng(0).integers(1, 9, (8, 1))
    even = draw_counts([str(at) for at in range(8)], [20] * 8, errors)
    uneven = draw_counts([str(at) for at in range(8)], [400, *[20] * 7], errors)
    assert even.units[0] == pytest.approx(8)
    assert uneven.units[0] == pytest.approx(540**2 / (400**2 + 7 * 20**2))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_an_interval_contains_its_value_and_stays_within_the_range_of_a_rate(
    rows: list[tuple[int, int, int]],
) -> None:
    names, words = [str(row[0]) for row in rows], [row[1] for row in rows]
    found = require_interval(draw_counts(names, words, np.array([[row[2]] for row in rows]), 200).rate(0))
    worst = max(row[2] / row[1] for row in rows)
    assert 0 <= found.low <= found.value <= found.high <= max(1.0, worst) + 1e-12


@pytest.mark.parametrize("units", [3.0, 5.0, 16.0, 400.0])
def test_the_probability_reaches_a_level_where_the_interval_of_that_level_excludes_the_bound(units: float) -> None:
    quantiles = (np.arange(20_000) + 0.5) / 20_000
    spread = np.array([NormalDist().inv_cdf(each) for each in quantiles])
    for value in np.linspace(-3.5, 3, 40):
        figure = Estimate(float(value), value + spread, units)
        probability, interval = figure.compute_probability_below(0.0), figure.interval()
        if abs(probability - 0.975) > 0.001:
            assert (probability > 0.975) == (interval.high < 0)
        assert figure.compute_probability_below(0.0) == pytest.approx(
            1 - Estimate(-float(value), -value - spread, units).compute_probability_below(0.0), abs=1e-9
        )


def test_few_sessions_are_no_certainty_and_no_difference_is_an_even_chance() -> None:
    same = np.zeros(1000)
    assert Estimate(0.0, same, 16).compute_probability_below(0.0) == pytest.approx(0.5)
    steady = np.full(1000, -2.0)
    few, many = (Estimate(-2.0, steady, units).compute_probability_below(0.0) for units in (2.0, 40.0))
    assert 0.8 < few < 0.95
    assert 0.99 < many < 1.0
    # Of 1,000 draws none is half of one: a probability is never 0 or 1.
    extreme = t.cdf(norm.ppf(0.9995) * (39 / 40) ** 0.5, 39)
    assert many == pytest.approx(extreme)
    assert Estimate(2.0, -steady, 40.0).compute_probability_below(0.0) == pytest.approx(1 - extreme)
    # A share of 85 % of the draws is 0.8 at five sessions: t(0.8, 4) sqrt(5 / 4) = 1.052 is the normal quantile of 0.854.
    drawn = np.concatenate([np.full(854, -1.0), np.full(146, 1.0)])
    assert Estimate(-0.7, drawn, 5.0).compute_probability_below(0.0) == pytest.approx(0.8, abs=0.002)
