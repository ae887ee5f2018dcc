from collections import Counter
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habla_ml.training.recipe import Recipe
from habla_ml.training.schedule import StepSchedule, WindowedBatch
from habla_ml.training.windows import FULL_FRAMES


def make_schedule(durations_s: list[float], labels_per_s: float = 7.0, **changes: Any) -> StepSchedule:
    recipe = {"name": "x", "base_model": "/x", "learning_rate": 1e-3, "epochs": 1, "batch_s": 60, "seed": 1} | changes
    counts = [round(labels_per_s * each) + 4 for each in durations_s]
    return StepSchedule(durations_s, counts, Recipe.model_validate(recipe))


def list_batches(schedule: StepSchedule, steps: int | None = None) -> list[WindowedBatch]:
    return list(chain.from_iterable(islice(schedule.steps(), steps or schedule.max_steps)))


def make_lognormal_durations(n_clips: int, mean_s: float = 3.4, sigma: float = 0.6) -> list[float]:
    drawn = np.random.default_rng(0).lognormal(np.log(mean_s) - sigma**2 / 2, sigma, n_clips)
    return np.clip(drawn, 0.4, 30).tolist()


@given(
    durations_s=st.lists(st.floats(0.3, 30), min_size=3, max_size=60),
    seed=st.integers(0, 5),
    batch_s=st.sampled_from([5, 60, 200]),
    accumulation=st.integers(1, 3),
    full_share=st.sampled_from([0.0, 0.06, 0.5, 1.0]),
)
@settings(max_examples=80)
def test_no_clip_is_cut_and_each_pass_uses_all_once(
    durations_s: list[float], seed: int, batch_s: float, accumulation: int, full_share: float
) -> None:
    windows = {"full_share": full_share}
    schedule = make_schedule(
        durations_s, seed=seed, batch_s=batch_s, gradient_accumulation=accumulation, windows=windows
    )
    batches = list_batches(schedule, 3 * len(durations_s))
    for batch in batches:
        assert max(durations_s[clip] for clip in batch.clips) * 100 <= batch.n_frames <= FULL_FRAMES
        assert batch.n_frames % 64 == 0 or batch.n_frames == FULL_FRAMES
        assert len(batch.clips) == 1 or len(batch.clips) * batch.n_frames <= batch_s / accumulation * 100
    clips = [clip for batch in batches for clip in batch.clips]
    for first in range(0, len(clips) - len(durations_s), len(durations_s)):
        assert sorted(clips[first : first + len(durations_s)]) == list(range(len(durations_s)))


def test_only_the_hours_of_a_block_are_shuffled_together() -> None:
    durations_s = [3.6] * 300  # 0.3 h of the classroom, then other clips
    recipe = {"name": "x", "base_model": "/x", "learning_rate": 1e-3, "epochs": 1, "batch_s": 60, "seed": 1}
    counts = [20] * 330
    whole, blocks = (
        StepSchedule([*durations_s, *[3.6] * 30], counts, Recipe.model_validate(recipe | changes), 300)
        for changes in ({}, {"shuffle_h": 0.1})
    )
    assert list_batches(whole, 5) == list_batches(make_plain_copy(whole), 5)
    batches = list_batches(blocks)
    clips = [clip for batch in batches for clip in batch.clips]
    assert sorted(clips[:330]) == list(range(330))
    parts = [{clip // 100 for clip in batch.clips if clip < 300} for batch in batches if len(batch.clips) > 1]
    assert all(len(part) == 1 for part in parts)
    order = [clip for clip in clips[:330] if clip < 300]
    assert order[:100] != sorted(order[:100])
    others = [at for at, clip in enumerate(clips[:330]) if clip >= 300]
    assert min(others) < 110
    assert max(others) > 220
    assert [sum(at // 110 == part for at in others) for part in range(3)] == [10, 10, 10]
    assert blocks.sum_window_s(blocks.max_steps) == pytest.approx(whole.sum_window_s(whole.max_steps), rel=0.1)


def make_plain_copy(schedule: StepSchedule) -> StepSchedule:
    """Return the schedule as one that knows nothing of the classroom."""
    return StepSchedule(schedule._durations_s.tolist(), schedule._n_labels.tolist(), schedule._recipe)


def test_four_fifths_of_the_input_of_lognormal_clips_is_audio() -> None:
    schedule = make_schedule(make_lognormal_durations(2_000), batch_s=240, gradient_accumulation=2, epochs=2)
    short_only = make_schedule(make_lognormal_durations(2_000), batch_s=240, windows={"full_share": 0}, epochs=2)
    for each, least in ((schedule, 0.75), (short_only, 0.8)):
        steps = each.max_steps
        assert each.sum_audio_s(steps) / each.sum_window_s(steps) > least
        # of 240 s a step, little remains free
        assert each.sum_window_s(steps) / steps > 0.93 * 240


@pytest.mark.parametrize("share", [0.0, 0.06, 0.3, 1.0])
def test_the_full_windows_have_their_share_of_the_input(share: float) -> None:
    schedule = make_schedule(
        [min(each, 20.0) for each in make_lognormal_durations(3_000)], batch_s=120, windows={"full_share": share}
    )
    batches = list_batches(schedule)
    frames = Counter[bool]()
    for batch in batches:
        frames[batch.n_frames == FULL_FRAMES] += len(batch.clips) * batch.n_frames
    assert frames[True] / frames.total() == pytest.approx(share, abs=0.01)


def test_a_share_of_less_than_one_clip_a_pass_is_kept_over_the_passes() -> None:
    schedule = make_schedule([3.0] * 20, batch_s=60, windows={"full_share": 0.06}, epochs=40)
    full = [batch for batch in list_batches(schedule) if batch.n_frames == FULL_FRAMES]
    # 0.8 % of the clips have 6 % of the input
    assert sum(len(batch.clips) for batch in full) == pytest.approx(40 * 20 * 0.0083, abs=1)


def test_short_clips_with_much_text_share_a_batch_only_up_to_the_labels_of_full_windows() -> None:
    schedule = make_schedule([1.0] * 100, labels_per_s=60, batch_s=60, windows={"full_share": 0})
    assert max(len(batch.clips) for batch in list_batches(schedule)) == 60 * 448 / 30 // 64
    assert max(len(batch.clips) for batch in list_batches(make_schedule([1.0] * 100, batch_s=60))) == 60 / 1.92 // 1


def test_a_step_has_as_many_batches_as_gradient_accumulation_says_with_different_windows() -> None:
    schedule = make_schedule(make_lognormal_durations(600), batch_s=90, gradient_accumulation=3)
    steps = list(islice(schedule.steps(), schedule.max_steps))
    assert {len(step) for step in steps} == {3}
    assert len({batch.n_frames for step in steps for batch in step}) > 10
    assert np.mean([len({batch.n_frames for batch in step}) for step in steps]) > 2


def test_the_schedule_depends_only_on_durations_labels_recipe_and_seed() -> None:
    durations_s = make_lognormal_durations(100)
    assert list_batches(make_schedule(durations_s, seed=1)) == list_batches(make_schedule(durations_s, seed=1))
    assert list_batches(make_schedule(durations_s, seed=1)) != list_batches(make_schedule(durations_s, seed=2))
    first, second = (list_batches(make_schedule(durations_s, epochs=2))[half::2] for half in (0, 1))
    assert first != second


def test_clips_of_one_window_meet_others_in_each_pass() -> None:
    schedule = make_schedule([3.0] * 64, batch_s=16, windows={"full_share": 0}, epochs=2)
    batches = [frozenset(batch.clips) for batch in list_batches(schedule)]
    assert len(batches) == len(set(batches)) == 2 * 64 / 4


def test_each_use_of_a_clip_has_the_number_of_its_pass() -> None:
    schedule = make_schedule([3.0] * 64, batch_s=16, windows={"full_share": 0}, epochs=2)
    uses = [use for batch in list_batches(schedule) for use in batch.uses()]
    assert sorted((use.clip, use.pass_number) for use in uses) == [
        (clip, number) for clip in range(64) for number in (0, 1)
    ]


def test_epochs_become_steps_and_seconds_are_summed_over_clips() -> None:
    schedule = make_schedule([2.0] * 40, batch_s=4 * 2.56, windows={"full_share": 0}, epochs=3)
    assert schedule.max_steps == 3 * 40 / 4
    assert schedule.sum_audio_s(5) == pytest.approx(20 * 2.0)
    assert schedule.sum_window_s(5) == pytest.approx(20 * 2.56)


@pytest.mark.parametrize("long_share", [0.0, 0.4, 1.0])
def test_a_run_of_two_epochs_uses_each_clip_twice_however_many_clips_are_long(long_share: float) -> None:
    durations_s = [20.0 if clip < 200 * long_share else 2.0 for clip in range(200)]
    used = Counter(clip for batch in list_batches(make_schedule(durations_s, epochs=2)) for clip in batch.clips)
    assert set(used.values()) == {2}


@pytest.mark.parametrize(
    ("clips", "bounds", "steps"),
    [
        (40, {}, 30),
        (80, {}, 60),
        (40, {"min_steps": 50}, 50),
        (80, {"min_steps": 50}, 60),
        (80, {"max_steps": 45}, 45),
        (40, {"max_steps": 45}, 30),
        (4, {"min_steps": 10, "max_steps": 10}, 10),
        (80, {"epochs": None, "max_steps": 7}, 7),
    ],
)
def test_the_steps_grow_with_the_clips_within_the_bounds(clips: int, bounds: dict[str, Any], steps: int) -> None:
    changes = {"epochs": 3, "batch_s": 4 * 30, "windows": {"full_share": 1}} | bounds
    assert make_schedule([2.0] * clips, **changes).max_steps == steps
