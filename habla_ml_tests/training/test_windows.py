from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor

from habla_ml.training.model_folder import load_whisper_model
from habla_ml.training.recipe import Recipe, Windows
from habla_ml.training.windows import FULL_FRAMES, StepSchedule, compute_log_mel, limit_encoder_window


def make_recipe_with_windows(windows: Windows | None, **changes: Any) -> Recipe:
    length = {"epochs": 1, "batch_size": 4, "seed": 1} | changes
    return Recipe.model_validate(
        {"name": "x", "base_model": "/x", "learning_rate": 1e-3, "windows": windows and windows.model_dump(), **length}
    )


SIX_SECOND_WINDOWS = Windows(short_window_s=6, jitter_s=0.64, full_window_every=4, full_window_batch_size=2)


def test_every_fourth_step_is_full_and_the_others_are_short_even_and_jittered() -> None:
    steps = list(islice(StepSchedule([3.0] * 50, make_recipe_with_windows(SIX_SECOND_WINDOWS)).steps(), 40))
    assert [step.n_frames == FULL_FRAMES for step in steps] == [False, False, False, True] * 10
    assert all(len(step.clips) == (2 if step.n_frames == FULL_FRAMES else 4) for step in steps)
    short = {step.n_frames for step in steps if step.n_frames != FULL_FRAMES}
    assert all(600 <= frames <= 664 and frames % 2 == 0 for frames in short)
    assert len(short) > 5


@given(
    durations_s=st.lists(st.floats(0.3, 30), min_size=10, max_size=60),
    seed=st.integers(0, 5),
    steps=st.integers(1, 80),
)
@settings(max_examples=60)
def test_no_clip_is_cut_and_all_are_used_equally_often(durations_s: list[float], seed: int, steps: int) -> None:
    uses = [0] * len(durations_s)
    for step in islice(
        StepSchedule(durations_s, make_recipe_with_windows(SIX_SECOND_WINDOWS, seed=seed)).steps(), steps
    ):
        for clip in step.clips:
            uses[clip] += 1
            assert durations_s[clip] * 100 <= step.n_frames
    # Passes differ by one, and the queues of two passes may hold a clip twice.
    assert max(uses) - min(uses) <= 3


def test_the_schedule_depends_only_on_durations_recipe_and_seed() -> None:
    durations_s = np.random.default_rng(0).uniform(0.5, 12, 100).tolist()

    def steps(seed: int) -> list[tuple[tuple[int, ...], int]]:
        schedule = StepSchedule(durations_s, make_recipe_with_windows(SIX_SECOND_WINDOWS, seed=seed))
        return [(step.clips, step.n_frames) for step in islice(schedule.steps(), 60)]

    assert steps(1) == steps(1)
    assert steps(1) != steps(2)


def test_without_windows_every_step_is_full() -> None:
    steps = list(islice(StepSchedule([3.0] * 8, make_recipe_with_windows(None)).steps(), 4))
    assert {step.n_frames for step in steps} == {FULL_FRAMES}
    assert sorted(steps[0].clips + steps[1].clips) == list(range(8))


def test_epochs_become_steps_and_seconds_are_summed_over_clips() -> None:
    assert StepSchedule([2.0] * 40, make_recipe_with_windows(None, epochs=3)).max_steps == 3 * 40 / 4
    # three short steps of 4 and one full step of 2 are 14 clips
    assert StepSchedule([2.0] * 140, make_recipe_with_windows(SIX_SECOND_WINDOWS)).max_steps == 40
    assert StepSchedule([2.0] * 40, make_recipe_with_windows(SIX_SECOND_WINDOWS)).sum_audio_s(4) == pytest.approx(
        14 * 2.0
    )


@pytest.mark.parametrize("long_share", [0.0, 0.4, 1.0])
def test_a_run_of_two_epochs_uses_each_clip_twice_however_many_clips_need_the_full_window(long_share: float) -> None:
    durations_s = [20.0 if clip < 200 * long_share else 2.0 for clip in range(200)]
    schedule = StepSchedule(durations_s, make_recipe_with_windows(SIX_SECOND_WINDOWS, epochs=2))
    used = Counter(clip for step in islice(schedule.steps(), schedule.max_steps) for clip in step.clips)
    assert 400 <= used.total() < 404
    assert np.mean([used[clip] for clip in range(200)]) == pytest.approx(2, abs=0.02)


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
    recipe = make_recipe_with_windows(None, **({"epochs": 3} | bounds))
    assert StepSchedule([2.0] * clips, recipe).max_steps == steps


def test_a_short_mel_equals_the_full_one_in_the_range_of_the_clip() -> None:
    rng = np.random.default_rng(3)
    clips = [rng.normal(0, 0.1, 16_000 * seconds).astype(np.float32) for seconds in (2, 3)]
    short = compute_log_mel(WhisperFeatureExtractor(), clips, 600)
    full = compute_log_mel(WhisperFeatureExtractor(), clips, FULL_FRAMES)
    assert short.shape == (2, 80, 600)
    assert full.shape == (2, 80, FULL_FRAMES)
    assert np.array_equal(short[:, :, :590], full[:, :, :590])


def test_a_limited_encoder_equals_the_encoder_with_cut_positions(tiny_base: Path) -> None:
    encoder = load_whisper_model(tiny_base).eval().get_encoder()
    mel = torch.randn(2, 80, 600)
    with torch.no_grad():
        with limit_encoder_window(encoder, 600):
            windowed = encoder(mel).last_hidden_state
        hidden = torch.nn.functional.gelu(encoder.conv1(mel))
        hidden = torch.nn.functional.gelu(encoder.conv2(hidden)).permute(0, 2, 1)
        hidden = hidden + encoder.embed_positions.weight[:300]
        for layer in encoder.layers:
            hidden = layer(hidden, None)
        assert torch.equal(windowed, encoder.layer_norm(hidden))


def test_the_encoder_has_its_1500_positions_again_after_the_block_even_after_an_error(
    tiny_base: Path, tmp_path: Path
) -> None:
    model = load_whisper_model(tiny_base).eval()
    with pytest.raises(ValueError, match="600"), limit_encoder_window(model.get_encoder(), 600):
        model.get_encoder()(torch.randn(1, 80, 400))
    assert model.get_encoder()(torch.randn(1, 80, 3000)).last_hidden_state.shape == (1, 1500, 32)
    model.save_pretrained(tmp_path)
    again = load_whisper_model(tmp_path)
    assert again.config.max_source_positions == 1500
    assert again.get_encoder().embed_positions.weight.shape == (1500, 32)
