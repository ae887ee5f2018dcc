from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from habla_ml.corpus.general_speech import GeneralSpeech, SpeechSourceSummary
from habla_ml.corpus.snapshot import Snapshot, read_utterances
from habla_ml.lake import Lake
from habla_ml.training.checkpoint_bounds import CheckpointBounds, describe_choice
from habla_ml.training.checkpoints import ValidationPoint, find_best_point, is_patience_exhausted
from habla_ml.training.extra_speech import ExtraSpeech
from habla_ml.training.model_folder import load_whisper_model
from habla_ml.training.recipe import Recipe
from habla_ml.training.silence import find_silent_clips
from habla_ml.training.train import build_training_data, train_version
from habla_ml.training.trainer import Progress
from habla_ml.training.validation import ValidationPlan, plan_validation
from habla_ml.training.validation_sets import ValidationGroups, choose_validation_clips
from habla_ml_tests.training.test_trainer import change_recipe
from habla_ml_tests.training.test_validation_plan import draw_durations, make_recipe, make_schedule, make_store

BOUNDS = CheckpointBounds(general_wer=0.12, invented=0.2)


def make_point(step: int, wer: float, general_wer: float, invented: float) -> ValidationPoint:
    return ValidationPoint(step=step, wer=wer, loss=1.0, general_wer=general_wer, invented=invented)


def test_the_best_checkpoint_has_the_lowest_wer_within_the_bounds() -> None:
    curve = [
        make_point(10, 0.4, 0.10, 0.0),
        make_point(20, 0.3, 0.12, 0.2),
        make_point(30, 0.2, 0.13, 0.0),
        make_point(40, 0.1, 0.10, 0.3),
    ]
    assert find_best_point(curve, BOUNDS.measure_excess).step == 20
    assert find_best_point(curve).step == 40
    text = describe_choice(curve, BOUNDS)
    assert text.startswith("step 20 is published: validation WER 30.0%, general speech 12.0%, text in 20%")
    assert "Step 40 has a lower validation WER (10.0%) but is not within them" in text
    assert is_patience_exhausted(curve, 2, BOUNDS.measure_excess)
    assert not is_patience_exhausted(curve, 2)
    assert describe_choice(curve, CheckpointBounds()) == ""


def test_without_a_checkpoint_within_the_bounds_the_nearest_one_is_published_with_a_message() -> None:
    curve = [make_point(10, 0.4, 0.15, 0.2), make_point(20, 0.1, 0.30, 0.2), make_point(30, 0.2, 0.14, 0.25)]
    assert find_best_point(curve, BOUNDS.measure_excess).step == 10
    text = describe_choice(curve, BOUNDS)
    assert text.startswith("no checkpoint is within the bounds (WER on general speech at most 12.0%, clips without")
    assert "step 10 is published, which exceeds them least, by 3.0 points" in text


def test_each_group_of_clips_has_its_own_figure_in_any_order() -> None:
    groups = ValidationGroups(n_class=2, n_general=1)
    texts = {0: ("una casa", "una cosa"), 1: ("dos", "dos"), 2: ("tres", ""), 3: ("", "invented"), 4: ("", "")}
    clips = [4, 2, 0, 3, 1]
    found = groups.summarise(clips, [texts[clip][0] for clip in clips], [texts[clip][1] for clip in clips])
    assert found == {"wer": pytest.approx(1 / 3), "general_wer": 1.0, "invented": 0.5}
    assert ValidationGroups(1).summarise([0], ["a"], ["a"]) == {"wer": 0.0}


def test_the_clips_of_a_validation_are_the_first_of_each_group() -> None:
    sample = make_store([3.0, 3.1, 3.2])
    guards = replace(make_store([1.0, 1.1, *[1.2] * 8, 2.0, 2.1, *[2.2] * 8]), n_speech=10)
    chosen, groups = choose_validation_clips(sample, guards, ValidationPlan(10, 2, guard_share=0.5))
    assert chosen.durations_s == pytest.approx([3.0, 3.1, 1.0, 1.1, *[1.2] * 6, 2.0, 2.1, *[2.2] * 6])
    assert (groups, chosen.n_speech) == (ValidationGroups(2, 8, 8), 10)
    assert groups.describe() == "2 for validation with 8 of general speech and 8 without speech"
    assert chosen.label_ids(2) == guards.label_ids(0)
    alone, groups = choose_validation_clips(sample, None, ValidationPlan(10, 2))
    assert (len(alone), groups) == (2, ValidationGroups(2))


@pytest.mark.long
def test_all_samples_share_the_time_of_a_validation() -> None:
    recipe = make_recipe(validation_clips=400)
    schedule, sample, guards = make_schedule(8000, recipe), draw_durations(400, seed=1), draw_durations(60, seed=2)
    alone, shared = (plan_validation(recipe, schedule, sample, each) for each in ((), guards))
    assert shared.every_steps == alone.every_steps
    kept = guards[: shared.cut_guards(60)]
    assert 8 <= len(kept) < 60
    assert shared.n_clips < alone.n_clips
    assert sum(sample[: shared.n_clips]) + sum(kept) < 1.05 * sum(sample[: alone.n_clips])
    assert replace(alone, guard_share=0.0).cut_guards(60) == 8


@pytest.mark.parametrize(("text_logit", "is_silent"), [(0.0, True), (60.0, False)])
def test_a_clip_is_silent_if_silence_is_likely_and_its_text_is_not(
    tiny_base: Path, text_logit: float, is_silent: bool
) -> None:
    model = load_whisper_model(tiny_base)
    config, no_speech_id, token = model.generation_config, 740, 300
    assert token not in {*config.suppress_tokens, *config.begin_suppress_tokens}
    with torch.no_grad():
        model.model.decoder.layer_norm.weight.zero_()
        model.model.decoder.layer_norm.bias.zero_()[0] = 1.0
        model.proj_out.weight.zero_()
        model.proj_out.weight[no_speech_id, 0] = 50.0
        model.proj_out.weight[token, 0] = text_logit
        encoded = model.get_encoder()(torch.zeros(2, model.config.num_mel_bins, 3000))
        prompt = torch.full((2, 4), 5)
        end_id = model.config.eos_token_id
        ids = torch.tensor([[token, token], [end_id, end_id]])
        found = find_silent_clips(model, encoded, prompt, ids, no_speech_id)
    assert found.tolist() == [is_silent, True], "no text at all is silence"


def borrow_replay(lake: Lake, snapshot: Snapshot) -> GeneralSpeech:
    source = SpeechSourceSummary("cv", "common_voice", "CC0-1.0", "https://example.org", "everything", 20, 0.1, {}, "d")
    borrowed = tuple(read_utterances(lake, snapshot, "train"))
    return GeneralSpeech(tuple(replace(each, segment_id=f"cv-{each.segment_id}") for each in borrowed), (source,))


def test_general_speech_for_validation_is_not_trained_on(lake: Lake, snapshot: Snapshot, recipe: Recipe) -> None:
    replay = borrow_replay(lake, snapshot)
    bounded = change_recipe(recipe, validation_bounds={"general_clips": 2, "non_speech_clips": 3})
    data = build_training_data(lake, snapshot, bounded, replay)
    trained = {each.segment_id for each in data.train if each.segment_id.startswith("cv-")}
    assert data.guards is not None
    held = {each.segment_id for each in data.guards.general}
    assert len(held) == 2
    assert trained | held == {each.segment_id for each in replay.utterances}
    assert not trained & held
    sounds = [list(each.guards.non_speech.clips(0, 9)) for each in (data, data) if each.guards is not None]
    assert len(sounds[0]) == 3
    assert all(np.array_equal(one[0], two[0]) for one, two in zip(*sounds, strict=True))


@pytest.mark.slow
def test_a_version_with_bounds_records_what_it_forgets_and_invents_and_resumes_to_the_same_bytes(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    bounds = {"general_clips": 2, "most_forgetting": 9.0, "non_speech_clips": 3, "most_invented": 1.0}
    changes: dict[str, Any] = {"validation_bounds": bounds, "max_steps": 4, "evaluate_every_steps": 2}
    bounded = change_recipe(recipe, **changes)
    extra = ExtraSpeech(replay=borrow_replay(lake, snapshot))
    messages: list[str] = []

    def stop_at_3(progress: Progress) -> None:
        messages.append(progress.message)
        if progress.step == 2 and progress.validation_wer is not None and progress.general_wer is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_version(lake, snapshot, bounded, "v1", tmp_path / "a", stop_at_3, extra)
    assert any(message.startswith("before training: validation WER") for message in messages)
    assert any("with 2 of general speech and 3 without speech every 2 steps" in message for message in messages)
    messages.clear()
    record = train_version(
        lake, snapshot, bounded, "v1", tmp_path / "a", lambda progress: messages.append(progress.message), extra
    )
    assert not any(message.startswith("before training") for message in messages), "it is measured once"
    whole = train_version(lake, snapshot, bounded, "v2", tmp_path / "b", lambda _: None, extra)
    assert record.tree == whole.tree
    assert record.validation == whole.validation
    assert record.validation_clips == 2
    assert record.start_validation is not None
    for point in (record.start_validation, *record.validation):
        assert point.general_wer is not None
        assert point.invented in {0, 1 / 3, 2 / 3, 1}
    assert record.choice.startswith(f"step {record.best_step} is published")
    assert record.train_clips == 20 + 18
