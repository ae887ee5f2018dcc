import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habla_ml.errors import EvaluationError
from habla_ml.evaluation import statistics
from habla_ml.evaluation.statistics import (
    bootstrap_wer,
    paired_point_change,
    paired_relative_improvement,
    resample_sessions,
)

TWO = (["a", "a", "b"], [5, 5, 10], np.array([[0, 1], [0, 1], [10, 8]]))


def test_values_are_the_fractions_of_the_whole_set() -> None:
    found = resample_sessions(*TWO, draws=500, seed=1)
    wer, change = bootstrap_wer(found, 0), paired_point_change(found, 0, 1)
    relative = paired_relative_improvement(found, 0, 1)
    assert wer is not None
    assert change is not None
    assert relative is not None
    assert wer.value == pytest.approx(10 / 20)
    assert change.value == pytest.approx(0.0)
    assert relative.value == pytest.approx(0.0)


def test_two_opposite_sessions_span_everything_between_them() -> None:
    wer = bootstrap_wer(resample_sessions(*TWO, draws=500, seed=1), 0)
    assert wer is not None
    assert (wer.low, wer.high) == (0.0, 1.0)


def test_whole_sessions_are_drawn_so_doubling_every_utterance_tells_nothing_new() -> None:
    once = bootstrap_wer(resample_sessions(*TWO, draws=500, seed=1), 0)
    names, words, errors = TWO
    twice = bootstrap_wer(resample_sessions(names * 2, words * 2, np.tile(errors, (2, 1)), draws=500, seed=1), 0)
    assert once == twice


def test_a_model_against_itself_changes_by_exactly_nothing() -> None:
    errors = np.random.default_rng(0).integers(0, 4, (60, 1)).repeat(2, axis=1)
    found = resample_sessions([str(at % 6) for at in range(60)], [5] * 60, errors, 1000, 3)
    for interval in (paired_relative_improvement(found, 0, 1), paired_point_change(found, 0, 1)):
        assert interval is not None
        assert (interval.low, interval.value, interval.high) == (0.0, 0.0, 0.0)


def test_pairing_sees_a_small_steady_gain_that_the_noise_between_sessions_hides() -> None:
    rng = np.random.default_rng(5)
    before = rng.integers(5, 60, 30)
    errors = np.column_stack([before, before - 3])
    found = resample_sessions([str(at) for at in range(30)], [100] * 30, errors, 2000, 3)
    old, new, relative = bootstrap_wer(found, 0), bootstrap_wer(found, 1), paired_relative_improvement(found, 0, 1)
    assert old is not None
    assert new is not None
    assert relative is not None
    assert new.high > old.low, "the two intervals overlap"
    assert relative.low > 0


def test_the_same_seed_gives_the_same_interval_whatever_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    names, errors = [str(at % 50) for at in range(500)], rng.integers(0, 4, (500, 2))
    one_block = resample_sessions(names, [6] * 500, errors, 1000, 9)
    other_seed = resample_sessions(names, [6] * 500, errors, 1000, 10)
    monkeypatch.setattr(statistics, "_CELLS_AT_ONCE", 777)
    many_blocks = resample_sessions(names, [6] * 500, errors, 1000, 9)
    assert bootstrap_wer(one_block, 1) == bootstrap_wer(many_blocks, 1)
    assert bootstrap_wer(one_block, 1) != bootstrap_wer(other_seed, 1)


def test_without_reference_words_there_is_no_figure() -> None:
    for found in (
        resample_sessions([], [], np.zeros((0, 2), np.int64), 100, 1),
        resample_sessions(["a", "b"], [0, 0], np.array([[1, 0], [2, 0]]), 100, 1),
    ):
        assert bootstrap_wer(found, 0) is None
        assert paired_relative_improvement(found, 0, 1) is None
        assert paired_point_change(found, 0, 1) is None


def test_a_session_without_words_still_counts_its_insertions() -> None:
    found = resample_sessions(["a", "b"], [10, 0], np.array([[1], [2]]), 200, 1)
    wer = bootstrap_wer(found, 0)
    assert wer is not None
    assert wer.value == pytest.approx(3 / 10)


def test_a_flawless_model_can_only_be_equalled_or_lost_to() -> None:
    found = resample_sessions(["a", "b", "c"], [10, 10, 10], np.array([[0, 0, 2]] * 3), 200, 1)
    tie, loss = paired_relative_improvement(found, 0, 1), paired_relative_improvement(found, 0, 2)
    assert tie is not None
    assert loss is not None
    assert tie.value == 0.0
    assert loss.high < 0


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(EvaluationError, match="2 sessions, 1 word counts"):
        resample_sessions(["a", "b"], [1], np.zeros((2, 1), np.int64), 100, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_an_interval_is_ordered_and_inside_what_sessions_show(rows: list[tuple[int, int, int]]) -> None:
    names = [str(row[0]) for row in rows]
    words, errors = [row[1] for row in rows], np.array([[row[2]] for row in rows])
    wer = bootstrap_wer(resample_sessions(names, words, errors, 200, 4), 0)
    assert wer is not None
    rates = [
        sum(row[2] for row in rows if row[0] == each) / sum(row[1] for row in rows if row[0] == each)
        for each in {row[0] for row in rows}
    ]
    assert min(rates) - 1e-12 <= wer.low <= wer.high <= max(rates) + 1e-12


def test_intervals_over_thirty_sessions_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(11)
    inside = 0
    for trial in range(200):
        rates = rng.beta(4, 16, 30)
        errors = rng.binomial(60, rates)[:, None]
        wer = bootstrap_wer(resample_sessions([str(at) for at in range(30)], [60] * 30, errors, 400, trial), 0)
        assert wer is not None
        inside += wer.low <= 0.2 <= wer.high
    assert 0.88 <= inside / 200 <= 0.99
