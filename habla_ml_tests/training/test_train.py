import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from habla_ml.code_identity import read_code_identity
from habla_ml.corpus.general_speech import GeneralSpeech, SpeechSourceSummary
from habla_ml.corpus.snapshot import Snapshot, read_utterances
from habla_ml.errors import TrainingError
from habla_ml.lake import Lake
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.checkpoints import find_latest_checkpoint
from habla_ml.training.extra_speech import ExtraSpeech
from habla_ml.training.identity import TRAINING_CODE, RunIdentity
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import read_training_record
from habla_ml.training.run import RunFolder
from habla_ml.training.train import lock_work_folder, train_version
from habla_ml.training.trainer import Progress
from habla_ml_tests.testing.training_snapshot import TrainingClipSpec, make_clips, publish_snapshot

pytestmark = pytest.mark.slow


def change_recipe(recipe: Recipe, **changes: Any) -> Recipe:
    return recipe.model_validate(recipe.model_dump() | changes)


def make_quick_recipe(recipe: Recipe, **changes: Any) -> Recipe:
    return change_recipe(recipe, **({"max_steps": 4, "evaluate_every_steps": 2} | changes))


def ignore_progress(_: Progress) -> None:
    pass


LORA = {"method": "lora", "lora": {"r": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["q_proj", "fc1"]}}


def test_a_trained_version_is_published_complete_and_without_training_state(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tiny_base: Path, tmp_path: Path
) -> None:
    reported: list[Progress] = []
    record = train_version(lake, snapshot, recipe, "v1", tmp_path / "work", reported.append)
    assert [file.path for file in lake.list_tree_files(record.tree)] == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    folder = lake.checkout_tree(record.tree, tmp_path / "out")
    base_generation = json.loads((tiny_base / "generation_config.json").read_text())
    assert json.loads((folder / "generation_config.json").read_text()) == base_generation
    assert base_generation["lang_to_id"]["<|es|>"]
    weights = load_file(folder / "model.safetensors")
    assert weights["model.encoder.embed_positions.weight"].shape == (1500, 32)
    assert {each.dtype for each in weights.values()} == {torch.float32}
    WhisperProcessor.from_pretrained(folder)
    WhisperForConditionalGeneration.from_pretrained(folder)
    assert record.steps == 12
    assert [point.step for point in record.validation] == [4, 8, 12]
    assert record.best in record.validation
    assert [each.step for each in reported if each.loss is not None] == [2, 4, 6, 8, 10, 12]
    # a step has 9 s of input: 3 or 4 clips of 1.475 s on average, or one clip in 30 s
    assert 12 * 1.475 < record.processed_hours * 3600 < 12 * 4 * 1.475
    assert read_training_record(lake, "v1") == record
    assert record.code == (read_code_identity(),)


def test_the_record_names_the_code_of_each_attempt_and_the_identity_none(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    def stop_at_4(progress: Progress) -> None:
        if progress.step == 4 and progress.loss is not None:
            raise KeyboardInterrupt

    quick = make_quick_recipe(recipe, max_steps=6)
    with pytest.raises(KeyboardInterrupt):
        train_version(lake, snapshot, quick, "v1", tmp_path, stop_at_4)
    earlier = read_code_identity().model_copy(update={"commit": "1" * 40, "lock": "2" * 64})
    [stamp] = tmp_path.glob("*/checkpoints/checkpoint-2/habla_ml.json")
    saved = json.loads(stamp.read_text("utf-8"))
    stamp.write_text(json.dumps({**saved, "code": [earlier.model_dump(mode="json")]}), "utf-8")
    record = train_version(lake, snapshot, quick, "v1", tmp_path, ignore_progress)
    assert record.code == (earlier, read_code_identity())
    assert record.identity.code == TRAINING_CODE == "0.5.0", "a commit must not repeat a training"


def test_the_pointer_has_tree_record_and_identity_and_a_second_call_does_no_work(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    record = train_version(lake, snapshot, make_quick_recipe(recipe), "v1", tmp_path / "work", ignore_progress)
    pointer = lake.read_pointer("models/v1/checkpoint")
    assert pointer is not None
    assert set(pointer.value) == {"tree", "record", "identity"}
    assert (pointer.value["tree"], pointer.value["identity"]) == (record.tree, record.identity_digest)
    reported: list[Progress] = []
    assert (
        train_version(lake, snapshot, make_quick_recipe(recipe), "v1", tmp_path / "elsewhere", reported.append)
        == record
    )
    assert [each.message.endswith("nothing to do") for each in reported] == [True]
    assert lake.read_pointer("models/v1/checkpoint") == pointer


def test_the_same_inputs_give_the_same_bytes_in_another_folder(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    one = train_version(lake, snapshot, make_quick_recipe(recipe), "v1", tmp_path / "a", ignore_progress)
    two = train_version(lake, snapshot, make_quick_recipe(recipe), "v2", tmp_path / "b", ignore_progress)
    assert one.tree == two.tree
    assert (
        train_version(lake, snapshot, make_quick_recipe(recipe, seed=7), "v3", tmp_path / "a", ignore_progress).tree
        != one.tree
    )


def test_tensorboard_has_the_loss_and_the_validation_wer(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    record = train_version(lake, snapshot, make_quick_recipe(recipe), "v1", tmp_path, ignore_progress)
    events = EventAccumulator(str(RunFolder(tmp_path, record.identity).tensorboard))
    events.Reload()
    assert [each.step for each in events.Scalars("train/loss")] == [2, 4]
    assert all(
        each.value > 0
        for name in ("clips_per_h", "speech_h_per_h", "memory_gb")
        for each in events.Scalars(f"train/{name}")
    )
    epochs = [each.value for each in events.Scalars("train/epoch")]
    assert epochs == sorted(epochs)
    assert 0 < epochs[0] < epochs[-1] < 1.5, "passes over the clips"
    assert [each.value for each in events.Scalars("eval/wer")] == pytest.approx([p.wer for p in record.validation])


def test_adapters_are_merged_and_only_their_modules_differ_from_the_base(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tiny_base: Path, tmp_path: Path
) -> None:
    record = train_version(lake, snapshot, make_quick_recipe(recipe, **LORA), "v1", tmp_path / "work", ignore_progress)
    names = {file.path for file in lake.list_tree_files(record.tree)}
    assert not any("adapter" in name for name in names)
    weights = load_file(lake.checkout_tree(record.tree, tmp_path / "out") / "model.safetensors")
    before = load_file(tiny_base / "model.safetensors")
    assert weights.keys() == before.keys()
    moved = {name for name in weights if not torch.equal(weights[name], before[name].float())}
    decoder, encoder = "model.decoder.layers.0.", "model.encoder.layers.0."
    modules = (
        decoder + "encoder_attn.q_proj",
        *(s + m for s in (decoder, encoder) for m in ("self_attn.q_proj", "fc1")),
    )
    assert moved == {f"{module}.weight" for module in modules}


def test_early_stopping_publishes_the_best_step_and_not_the_last(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    # At this rate no weight moves: every evaluation equals the first.
    still = change_recipe(recipe, learning_rate=1e-30, max_steps=40, evaluate_every_steps=2, early_stopping_patience=2)
    record = train_version(lake, snapshot, still, "v1", tmp_path, ignore_progress)
    assert record.steps == 6
    assert record.best_step == 2


def test_a_run_that_stopped_without_writing_its_result_is_not_trained_further(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    still = change_recipe(recipe, learning_rate=1e-30, max_steps=40, evaluate_every_steps=2, early_stopping_patience=1)
    run = RunFolder(tmp_path, RunIdentity.of(still, snapshot.id, resolve_base_model(still)))
    obstacle = run.root / "attempt-0"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("no folder")
    with pytest.raises(NotADirectoryError):
        train_version(lake, snapshot, still, "v1", tmp_path, ignore_progress)
    obstacle.unlink()
    reported: list[Progress] = []
    record = train_version(lake, snapshot, still, "v1", tmp_path, reported.append)
    assert (record.steps, record.best_step) == (4, 2)
    assert not any(each.loss is not None for each in reported)


def test_a_run_at_its_time_limit_is_evaluated_and_published(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    record = train_version(lake, snapshot, change_recipe(recipe, max_wall_s=0.001), "v1", tmp_path, ignore_progress)
    assert record.steps == 1
    assert [point.step for point in record.validation] == [1]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_snapshot_without_clips_in_a_split_is_refused(lake: Lake, recipe: Recipe, tmp_path: Path, split: str) -> None:
    kept = [clip for clip in make_clips() if clip.split != split]
    unusable = TrainingClipSpec("long", split, "7" * 500, 1.0)  # type: ignore[arg-type]
    snapshot = publish_snapshot(lake, [*kept, unusable])
    with pytest.raises(TrainingError, match=rf"no usable {split} clips \(skipped: .*448 positions': 1"):
        train_version(lake, snapshot, recipe, "v1", tmp_path, ignore_progress)
    assert lake.read_pointer("models/v1/checkpoint") is None


def test_a_checkpoint_of_another_recipe_or_snapshot_is_not_resumed(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    def stop_at_4(progress: Progress) -> None:
        if progress.step == 4 and progress.loss is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_version(lake, snapshot, make_quick_recipe(recipe, max_steps=6), "v1", tmp_path, stop_at_4)
    base = resolve_base_model(recipe)
    mine = RunIdentity.of(make_quick_recipe(recipe, max_steps=6), snapshot.id, base)
    left = RunFolder(tmp_path, mine).checkpoints
    assert find_latest_checkpoint(left, mine).stamp.step == 2  # type: ignore[union-attr]
    for other, difference in (
        (
            RunIdentity.of(make_quick_recipe(recipe, max_steps=6, seed=5), snapshot.id, base),
            "seed 20260216 instead of 5",
        ),
        (
            RunIdentity.of(make_quick_recipe(recipe, max_steps=6), "f" * 64, base),
            f"snapshot {snapshot.id} instead of ffff",
        ),
    ):
        target = RunFolder(tmp_path / "other", other).checkpoints
        target.parent.mkdir(parents=True)
        left.rename(target)
        other_recipe = make_quick_recipe(recipe, max_steps=6, seed=other.seed)
        other_snapshot = snapshot if other.snapshot == snapshot.id else None
        with pytest.raises(TrainingError, match=difference):
            find_latest_checkpoint(target, other)
        if other_snapshot is not None:
            with pytest.raises(TrainingError, match=r"belongs to another training.*cannot be resumed"):
                train_version(lake, other_snapshot, other_recipe, "v1", tmp_path / "other", ignore_progress)
        target.rename(left)


def test_a_run_of_two_epochs_follows_its_clips_and_resumes_to_the_same_weights(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    two_epochs = make_quick_recipe(recipe, max_steps=None, epochs=2, non_speech_share=0)
    whole = train_version(lake, snapshot, two_epochs, "v1", tmp_path / "whole", ignore_progress)
    assert whole.processed_hours == pytest.approx(2 * whole.train_hours, rel=0.25)
    messages: list[str] = []

    def stop_after_2(progress: Progress) -> None:
        messages.append(progress.message)
        if progress.step == 4 and progress.loss is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_version(lake, snapshot, two_epochs, "v2", tmp_path / "cut", stop_after_2)
    assert any(re.match(rf"step 2/{whole.steps}: loss .* \(\d+ s, about \d+ s left\)", each) for each in messages)
    resumed = train_version(lake, snapshot, two_epochs, "v2", tmp_path / "cut", ignore_progress)
    assert (resumed.tree, resumed.steps) == (whole.tree, whole.steps)
    more = [replace(clip, segment_id=f"{clip.segment_id}-{take}") for clip in make_clips() for take in range(2)]
    larger = publish_snapshot(lake, more)
    twice = train_version(lake, larger, two_epochs, "v3", tmp_path / "twice", ignore_progress)
    assert twice.train_clips == 2 * whole.train_clips
    assert abs(twice.steps - 2 * whole.steps) <= 1


def test_an_incomplete_checkpoint_is_deleted(recipe: Recipe, tmp_path: Path) -> None:
    identity = RunIdentity.of(recipe, "0" * 64, resolve_base_model(recipe))
    (tmp_path / "checkpoint-8").mkdir()
    (tmp_path / "checkpoint-8" / "model.safetensors").write_bytes(b"half")
    assert find_latest_checkpoint(tmp_path, identity) is None
    assert not (tmp_path / "checkpoint-8").exists()


def test_a_second_training_in_a_folder_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    refused = pytest.raises(TrainingError, match=rf"in use by training process {os.getpid()}")
    with lock_work_folder(tmp_path), refused, lock_work_folder(tmp_path):
        pass
    with lock_work_folder(tmp_path):
        pass


def test_a_version_that_another_training_published_at_the_same_time_is_not_overwritten(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    other = make_quick_recipe(recipe, seed=5)

    def overtake(progress: Progress) -> None:
        if progress.loss is not None and lake.read_pointer("models/v1/checkpoint") is None:
            train_version(lake, snapshot, other, "v1", tmp_path / "theirs", ignore_progress)

    with pytest.raises(TrainingError, match=r"another training .* moved models/v1/checkpoint"):
        train_version(lake, snapshot, make_quick_recipe(recipe), "v1", tmp_path / "mine", overtake)
    theirs = read_training_record(lake, "v1")
    assert theirs is not None
    assert theirs.identity.seed == 5
    again: list[Progress] = []
    mine = train_version(lake, snapshot, make_quick_recipe(recipe), "v1", tmp_path / "mine", again.append)
    assert not any(each.loss is not None for each in again), "the finished result had to be kept"
    assert read_training_record(lake, "v1") == mine


def test_the_published_weights_are_interpolated_with_the_base(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tiny_base: Path, tmp_path: Path
) -> None:
    def train_and_load_weights(version: str, share: float) -> dict[str, torch.Tensor]:
        record = train_version(
            lake,
            snapshot,
            make_quick_recipe(recipe, base_share=share),
            version,
            tmp_path / "work",
            ignore_progress,
        )
        return load_file(lake.checkout_tree(record.tree, tmp_path / version) / "model.safetensors")

    trained, mixed, base = (
        train_and_load_weights("v1", 0.0),
        train_and_load_weights("v2", 0.25),
        load_file(tiny_base / "model.safetensors"),
    )
    assert not torch.equal(trained["model.decoder.layers.0.fc1.weight"], base["model.decoder.layers.0.fc1.weight"])
    for name in trained:
        torch.testing.assert_close(mixed[name], 0.75 * trained[name] + 0.25 * base[name].float())


def test_general_speech_is_recorded_with_its_licence_and_another_licence_is_another_run(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    source = SpeechSourceSummary("cv", "common_voice", "CC0-1.0", "https://example.org", "everything", 2, 0.1, {}, "d")
    borrowed = tuple(read_utterances(lake, snapshot, "train"))[:2]
    replay = GeneralSpeech(tuple(replace(each, segment_id=f"cv-{each.segment_id}") for each in borrowed), (source,))
    alone = train_version(lake, snapshot, make_quick_recipe(recipe), "v1", tmp_path / "work", ignore_progress)
    record = train_version(
        lake,
        snapshot,
        make_quick_recipe(recipe),
        "v2",
        tmp_path / "work",
        ignore_progress,
        ExtraSpeech(replay=replay),
    )
    assert record.train_clips == alone.train_clips + 2
    assert (alone.general_speech, record.general_speech) == ((), (source,))
    published = read_training_record(lake, "v2")
    assert published is not None
    assert published.general_speech == (source,)
    base = resolve_base_model(recipe)
    other = GeneralSpeech(replay.utterances, (replace(source, licence="unknown"),))
    digests = {RunIdentity.of(recipe, snapshot.id, base, each).digest for each in (GeneralSpeech(), replay, other)}
    assert len(digests) == 3
