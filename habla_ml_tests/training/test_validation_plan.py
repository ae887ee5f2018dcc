import numpy as np
import pytest

from habla_ml.training.clips import ClipStore
from habla_ml.training.recipe import Recipe
from habla_ml.training.schedule import StepSchedule
from habla_ml.training.validation import DECODING_COST, plan_validation, plan_validation_batches


def make_recipe(**changes: object) -> Recipe:
    common = {"name": "x", "base_model": "/x", "learning_rate": 1e-3, "epochs": 3, "batch_s": 120}
    return Recipe.model_validate(common | changes)


def draw_durations(n_clips: int, seed: int = 0) -> list[float]:
    drawn = np.random.default_rng(seed).lognormal(np.log(3.4) - 0.18, 0.6, n_clips)
    return np.clip(drawn, 0.4, 29).tolist()


def make_store(durations_s: list[float]) -> ClipStore:
    """Return clips of silence with 20 labels each."""
    starts = np.concatenate([[0], np.cumsum(np.rint(np.array(durations_s) * 16_000))]).astype(np.int64)
    label_starts = np.arange(len(durations_s) + 1) * 20
    labels = np.zeros(label_starts[-1], np.int32)
    return ClipStore(np.zeros(starts[-1], np.int16), starts, labels, label_starts, len(durations_s), {})


def make_schedule(n_clips: int, recipe: Recipe) -> StepSchedule:
    durations_s = draw_durations(n_clips)
    return StepSchedule(durations_s, [round(7 * each) + 4 for each in durations_s], recipe)


@pytest.mark.long
@pytest.mark.parametrize("hours", [2.0, 10.0])
def test_a_run_is_validated_8_times_or_more_in_at_most_5_percent_of_its_time(hours: float) -> None:
    recipe = make_recipe(validation_clips=400)
    schedule = make_schedule(round(hours * 3600 / 3.4), recipe)
    sample = draw_durations(400, seed=1)
    plan = plan_validation(recipe, schedule, sample)
    times = schedule.max_steps // plan.every_steps
    assert 8 <= times <= 9
    batches = plan_validation_batches(make_store(sample).take(plan.n_clips), recipe)
    input_s = sum(len(batch.clips) * batch.n_frames / 100 for batch in batches)
    assert times * DECODING_COST * input_s < 0.055 * schedule.sum_window_s(schedule.max_steps)
    assert plan.n_clips > 12 * hours


def test_a_long_run_is_validated_k_times_an_epoch() -> None:
    recipe = make_recipe(epochs=10, evaluations_per_epoch=3)
    schedule = make_schedule(400, recipe)
    plan = plan_validation(recipe, schedule, draw_durations(20))
    assert 30 <= schedule.max_steps // plan.every_steps <= 36


def test_a_short_run_has_a_small_sample_and_a_fixed_cadence_is_kept() -> None:
    recipe = make_recipe(epochs=None, max_steps=12, batch_s=9, evaluate_every_steps=5)
    plan = plan_validation(recipe, make_schedule(20, recipe), draw_durations(40))
    assert (plan.every_steps, plan.n_clips) == (5, 16)
    assert plan_validation(recipe, make_schedule(20, recipe), draw_durations(2)).n_clips == 2


def test_validation_batches_have_every_clip_once_in_short_windows() -> None:
    durations_s = draw_durations(50)
    batches = plan_validation_batches(make_store(durations_s), make_recipe())
    assert sorted(clip for batch in batches for clip in batch.clips) == list(range(50))
    for batch in batches:
        longest_s = max(durations_s[clip] for clip in batch.clips)
        assert longest_s * 100 <= batch.n_frames <= longest_s * 100 + 97
    parts = plan_validation_batches(make_store(durations_s), make_recipe(), batch_parts=4)
    assert all(len(batch.clips) == 1 or len(batch.clips) * batch.n_frames <= 3_000 for batch in parts)
