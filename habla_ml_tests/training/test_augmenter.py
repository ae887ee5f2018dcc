import math
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.lake import Lake
from habla_ml.training.augmentation import Augmentation
from habla_ml.training.augmenter import Augmenter
from habla_ml.training.recipe import Recipe, SpecAugment
from habla_ml.training.schedule import ClipUse, StepSchedule
from habla_ml.training.spec_augment import FeatureMasker, draw_spans
from habla_ml_tests.training.test_trainer import change_recipe, prepare_test_run

ALL: dict[str, Any] = {name: {"probability": 1.0} for name in ("speed", "pitch", "reverberation", "noise", "gain")}
DURATIONS_S = np.array([1.0, 1.5, 29.9, 0.8, 1.2])
N_SPEECH = 3


def read_clip(clip: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(clip)
    return 0.1 * rng.standard_normal(round(DURATIONS_S[clip] * 16_000), dtype=np.float32)


def make_augmenter(effects: dict[str, Any], seed: int = 1) -> Augmenter:
    return Augmenter(Augmentation.model_validate(effects), seed, DURATIONS_S, N_SPEECH, read_clip)


def test_a_use_has_the_same_samples_in_any_process_and_order_and_others_in_the_next_pass() -> None:
    uses = [ClipUse(clip, 3000, pass_number) for clip in range(2) for pass_number in range(2)]
    one, other = make_augmenter(ALL), make_augmenter(ALL)
    forward = {use: one.read(use) for use in uses}
    for use in reversed(uses):
        assert np.array_equal(other.read(use), forward[use])
    assert not np.array_equal(forward[uses[0]][:8_000], forward[uses[1]][:8_000])
    assert not np.array_equal(make_augmenter(ALL, seed=2).read(uses[0])[:8_000], forward[uses[0]][:8_000])


def test_no_effect_leaves_the_samples() -> None:
    assert np.array_equal(make_augmenter({}).read(ClipUse(0, 3000, 0)), read_clip(0))


@pytest.mark.parametrize("name", list(ALL))
def test_each_effect_changes_speech_and_only_speed_its_length(name: str) -> None:
    changed = make_augmenter({name: ALL[name]}).read(ClipUse(0, 3000, 0))
    assert (len(changed) == 16_000) is (name != "speed")
    assert np.isfinite(changed).all()
    assert np.abs(changed).max() < 1
    assert not np.allclose(changed[:8_000], read_clip(0)[:8_000], atol=1e-3)


@pytest.mark.parametrize("name", ["pitch", "reverberation"])
def test_clips_without_speech_keep_pitch_and_room(name: str) -> None:
    use = ClipUse(N_SPEECH, 3000, 0)
    assert np.array_equal(make_augmenter({name: ALL[name]}).read(use), read_clip(N_SPEECH))


def test_noise_is_recorded_or_synthesised() -> None:
    clips: set[int] = set()

    def note(clip: int) -> NDArray[np.float32]:
        clips.add(clip)
        return read_clip(clip)

    augmenter = Augmenter(Augmentation.model_validate({"noise": ALL["noise"]}), 1, DURATIONS_S, N_SPEECH, note)
    for pass_number in range(12):
        augmenter.read(ClipUse(0, 3000, pass_number))
    assert clips == {0, 3, 4}
    assert augmenter._synthesised


def test_an_effect_has_its_share_of_the_uses() -> None:
    augmenter = make_augmenter({"gain": {"probability": 0.25, "gain_db": [-20, -20]}})
    quiet = [np.abs(augmenter.read(ClipUse(0, 3000, number))).max() < 0.1 for number in range(200)]
    assert 0.17 < np.mean(quiet) < 0.33


def test_each_window_of_the_schedule_holds_its_slower_and_faster_clips(recipe: Recipe) -> None:
    changed = change_recipe(
        recipe, windows={"margin_s": 0, "full_share": 0}, augmentation={"speed": {"probability": 1}}, max_steps=40
    )
    durations_s = np.random.default_rng(0).uniform(0.3, 29.99, 30).round(4)
    augmenter = Augmenter(
        changed.augmentation,
        changed.seed,
        durations_s,
        30,
        lambda clip: np.ones(round(durations_s[clip] * 16_000), np.float32),
    )
    schedule = StepSchedule(durations_s.tolist(), [5] * 30, changed)
    speeds = []
    for step in islice(schedule.steps(), 40):
        for use in (use for batch in step for use in batch.uses()):
            assert len(augmenter.read(use)) <= use.n_frames * 160
            speeds.append(augmenter.get_speed(use))
    assert min(speeds) < 0.92
    assert max(speeds) > 1.08


def test_a_clip_near_30_s_is_not_made_longer_than_30_s() -> None:
    speeds = [make_augmenter(ALL).get_speed(ClipUse(2, 3000, number)) for number in range(20)]
    assert min(speeds) == pytest.approx(29.9 / 30)


def test_masks_lie_on_the_clip_and_have_their_share() -> None:
    masker = FeatureMasker(SpecAugment(mask_time_prob=0.2, mask_feature_prob=0.1), 1, 80)
    uses = [ClipUse(0, 3000, number) for number in range(40)]
    masks = np.stack([masker.draw(use, 200) for use in uses])
    assert masks.shape == (40, 80, 3000)
    assert not masks[..., 200:].any()
    assert 0.15 < masks.all(axis=1)[:, :200].mean() < 0.21, "overlaps make it a little less"
    assert 0.05 < masks[..., :200].all(axis=2).mean() < 0.13
    assert np.array_equal(masker.draw(uses[3], 200), masks[3])
    assert not np.array_equal(masks[0], masks[1])


def test_a_clip_shorter_than_a_span_can_be_masked_in_part_of_its_uses() -> None:
    rng = np.random.default_rng(0)
    assert 0.02 < np.mean([draw_spans(4, 0.1, 10, rng).any() for _ in range(400)]) < 0.08


def test_the_trainer_gets_the_augmented_clips_and_their_masks(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    changed = change_recipe(recipe, augmentation=ALL, spec_augment={"mask_time_prob": 0.5})
    run = prepare_test_run(lake, snapshot, changed, tmp_path)
    use = next(run.batches())[0]
    sample, masked = run.train[use], run.train.collate([run.train[use]])["masked"]
    assert run.train.augmenter is not None
    speed = run.train.augmenter.get_speed(use)
    assert len(sample.audio) == int(len(run.train.clips.audio(use.clip)) / speed)
    assert sample.target.labels == run.train.clips.label_ids(use.clip)
    n_clip_frames = math.ceil(len(sample.audio) / 160)
    assert masked[..., :n_clip_frames].any()
    assert not torch.any(masked[..., n_clip_frames:])
    assert run.validation.augmenter is None
    assert run.validation.masker is None
