"""Two stages: general speech first, found again by later versions, then the classroom."""

import csv
import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from habla_ml.corpus.general_speech import GeneralSpeech, SpeechSourceSummary
from habla_ml.corpus.snapshot import Snapshot, Utterance
from habla_ml.defs.models.training_metadata import build_training_metadata
from habla_ml.errors import SettingsError, TrainingError, TrainingLeasedError
from habla_ml.lake import Lake, compute_digest
from habla_ml.settings import TrainingSettings
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.extra_speech import ExtraSpeech
from habla_ml.training.first_stage import split_held_out
from habla_ml.training.identity import RunIdentity
from habla_ml.training.plan import VersionPlan, plan_version, resolve_first_stage_sources
from habla_ml.training.recipe import Recipe
from habla_ml.training.record import read_first_stage_record, read_training_record
from habla_ml.training.run import RunFolder
from habla_ml.training.train import train_version
from habla_ml.training.trainer import Progress
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.habla_sessions import V1
from habla_ml_tests.testing.training_deployment import TrainingDeployment, kill_at
from habla_ml_tests.testing.training_snapshot import (
    SENTENCES,
    TrainingClipSpec,
    make_clips,
    make_tone,
    publish_snapshot,
)

STAGE = {"max_steps": 4, "evaluate_every_steps": 2, "learning_rate": 5e-3}
LORA = {"method": "lora", "lora": {"r": 4, "alpha": 8, "target_modules": ["q_proj"]}}
FC1 = "model.decoder.layers.0.fc1.weight"
Q_PROJ = "model.decoder.layers.0.self_attn.q_proj.weight"


def make_two_stage_recipe(recipe: Recipe, stage: dict[str, Any] = STAGE, **changes: Any) -> Recipe:
    quick = {"max_steps": 4, "evaluate_every_steps": 2}
    return recipe.model_validate(recipe.model_dump() | quick | changes | {"first_stage": stage})


def ignore_progress(_: Progress) -> None:
    pass


def make_utterance(number: int, voice: int) -> Utterance:
    sentence = SENTENCES[number % 4]
    clip = TrainingClipSpec(f"general-{number:03}", "train", sentence, 1.0 + 0.05 * (number % 7))
    return Utterance(
        segment_id=clip.segment_id,
        session_id=f"general-speech:cv:{voice:012}",
        speaker=f"{voice:012}",
        sentence=sentence,
        duration_s=clip.duration_s,
        loudness_dbfs=-20.0,
        audio_sha256=f"{number:064}",
        audio=make_tone(clip),
    )


SOURCE = SpeechSourceSummary(
    "cv", "common_voice", "CC0-1.0", "https://example.org", "accents Andalucía", 24, 0.1, {}, "d"
)
GENERAL_SPEECH = GeneralSpeech(tuple(make_utterance(number, number // 2) for number in range(24)), (SOURCE,))
EXTRA_SPEECH = ExtraSpeech(first_stage=GENERAL_SPEECH)


def load_weights(lake: Lake, tree: str, folder: Path) -> dict[str, torch.Tensor]:
    return load_file(lake.checkout_tree(tree, folder / tree) / "model.safetensors")


@pytest.mark.slow
def test_two_stages_give_other_weights_than_one_and_the_record_has_the_first_stage(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    shipped = {"base_model": "package:demo/base_model", "learning_rate": 1e-3}
    both = make_two_stage_recipe(recipe, {**STAGE, "learning_rate": 1e-3}, **shipped)
    one = both.model_validate(both.model_dump(exclude={"first_stage", "excluded_sounds"}))
    outside = {name for name in lake.list_pointers("") if not name.startswith(("models/", "first_stages/"))}
    reported: list[Progress] = []
    record = train_version(lake, snapshot, both, "v2", tmp_path / "work", reported.append, EXTRA_SPEECH)
    alone = train_version(lake, snapshot, one, "v1", tmp_path / "work", ignore_progress)

    first = record.first_stage
    assert first is not None
    assert (alone.first_stage, alone.general_speech, record.general_speech) == (None, (), ())
    assert first.general_speech == (SOURCE,)
    assert [point.step for point in first.validation] == [2, 4]
    assert (first.train_clips, first.validation_clips) == (22, 2)
    assert (first.identity.snapshot, first.recipe) == ("", "tiny.first_stage")
    assert (record.base_model, record.identity.base_model) == (alone.base_model, alone.identity.base_model)
    assert (record.steps, record.train_clips) == (4, alone.train_clips)
    trained = [load_weights(lake, tree, tmp_path) for tree in (alone.tree, first.tree, record.tree)]
    base = {name: each.float() for name, each in load_file(BASE_MODEL / "model.safetensors").items()}
    assert not any(torch.equal(x[FC1], y[FC1]) for x, y in ((trained[0], trained[2]), (trained[1], base)))
    assert read_training_record(lake, "v2") == record
    assert read_first_stage_record(lake, first.identity) == first

    assert [each.step for each in reported if each.message.startswith("first stage: step") and each.loss] == [2, 4]
    assert sum(each.message.startswith("step") and each.loss is not None for each in reported) == 2
    now = {name for name in lake.list_pointers("") if not name.startswith(("models/", "first_stages/"))}
    assert now == outside, "general speech must leave the classroom's corpus as it is"


@pytest.mark.slow
def test_the_second_stage_starts_from_the_first_and_interpolates_with_the_original_base(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tiny_base: Path, tmp_path: Path
) -> None:
    still = make_two_stage_recipe(recipe, learning_rate=1e-30, base_share=0.25)
    record = train_version(lake, snapshot, still, "v1", tmp_path / "work", ignore_progress, EXTRA_SPEECH)
    assert record.first_stage is not None
    first, mixed = (load_weights(lake, tree, tmp_path) for tree in (record.first_stage.tree, record.tree))
    base = load_file(tiny_base / "model.safetensors")
    assert not torch.equal(first[FC1], base[FC1].float())
    for name in first:
        torch.testing.assert_close(mixed[name], 0.75 * first[name] + 0.25 * base[name].float())


@pytest.mark.slow
def test_adapters_of_either_stage_are_merged_into_its_initial_model(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tiny_base: Path, tmp_path: Path
) -> None:
    full_then_lora = make_two_stage_recipe(recipe, {**STAGE, "method": "full"}, **LORA)
    record = train_version(lake, snapshot, full_then_lora, "v1", tmp_path / "work", ignore_progress, EXTRA_SPEECH)
    assert record.first_stage is not None
    first, last = (load_weights(lake, tree, tmp_path) for tree in (record.first_stage.tree, record.tree))
    base = load_file(tiny_base / "model.safetensors")
    assert not torch.equal(first[FC1], base[FC1].float())
    assert torch.equal(last[FC1], first[FC1])
    assert not torch.equal(last[Q_PROJ], first[Q_PROJ])

    lora_then_full = make_two_stage_recipe(recipe, {**STAGE, **LORA}, learning_rate=1e-30)
    record = train_version(lake, snapshot, lora_then_full, "v2", tmp_path / "work", ignore_progress, EXTRA_SPEECH)
    last = load_weights(lake, record.tree, tmp_path)
    assert torch.equal(last[FC1], base[FC1].float())
    assert not torch.equal(last[Q_PROJ], base[Q_PROJ].float())


@pytest.mark.slow
def test_the_next_version_reuses_the_first_stage_and_another_licence_trains_its_own(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    both = make_two_stage_recipe(recipe)
    one = train_version(lake, snapshot, both, "v1", tmp_path / "v1", ignore_progress, EXTRA_SPEECH)
    assert one.first_stage is not None
    before = set(lake.list_object_ids())
    newer = publish_snapshot(lake, make_clips(n_train=24), groups={"newer": "train"})
    before |= set(lake.list_object_ids())
    reported: list[Progress] = []
    tuned = make_two_stage_recipe(recipe, learning_rate=2e-3)
    two = train_version(lake, newer, tuned, "v2", tmp_path / "v2", reported.append, EXTRA_SPEECH)
    assert two.first_stage == one.first_stage
    assert two.tree != one.tree
    assert [each.message for each in reported if each.message.startswith("first stage: ")] == [
        f"first stage: reusing the published checkpoint of identity {one.first_stage.identity_digest[:12]}"
    ]
    assert list(lake.list_pointers("first_stages/")) == [f"first_stages/{one.first_stage.identity_digest}/checkpoint"]
    # a tree, its weights and its record; the configs are those of the base and were there
    assert len(set(lake.list_object_ids()) - before) == 3

    relicensed = ExtraSpeech(replace(GENERAL_SPEECH, sources=(replace(SOURCE, licence="CC BY 4.0"),)))
    three = train_version(lake, newer, tuned, "v3", tmp_path / "v3", ignore_progress, relicensed)
    assert three.identity_digest != two.identity_digest
    assert len(list(lake.list_pointers("first_stages/"))) == 2


@pytest.mark.slow
def test_a_run_stopped_in_either_stage_resumes_to_the_same_weights(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    both = make_two_stage_recipe(recipe, {**STAGE, "max_steps": 6}, log_every_steps=1)
    straight = train_version(lake, snapshot, both, "v1", tmp_path / "v1", ignore_progress, EXTRA_SPEECH)
    assert straight.first_stage is not None
    lake.delete_pointer(f"first_stages/{straight.first_stage.identity_digest}/checkpoint")

    def stop_at(line: str) -> list[str]:
        reported: list[str] = []

        def report_progress(progress: Progress) -> None:
            reported.append(progress.message)
            if progress.message.startswith(line):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_version(lake, snapshot, both, "v2", tmp_path / "v2", report_progress, EXTRA_SPEECH)
        return reported

    stop_at("first stage: step 5/6: loss")
    assert list(lake.list_pointers("first_stages/")) == []
    reported = stop_at("step 3/4: loss")
    assert "first stage: resuming at step 4" in reported
    left = RunFolder(tmp_path / "v2", straight.first_stage.identity)
    assert not left.clips.exists(), "what was decoded for the first stage is of no more use"
    resumed: list[Progress] = []
    again = train_version(lake, snapshot, both, "v2", tmp_path / "v2", resumed.append, EXTRA_SPEECH)
    assert "resuming at step 2" in [each.message for each in resumed]
    assert again.first_stage is not None
    assert again.first_stage.tree == straight.first_stage.tree
    assert again.tree == straight.tree


@pytest.mark.slow
def test_a_first_stage_that_another_process_trains_is_refused_and_later_reused(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    both = make_two_stage_recipe(recipe)
    refusals: list[TrainingLeasedError] = []

    def overtake(progress: Progress) -> None:
        if progress.loss is not None and progress.is_first_stage and not refusals:
            with pytest.raises(TrainingLeasedError, match="trains v2") as refused:
                train_version(lake, snapshot, both, "v1", tmp_path / "theirs", ignore_progress, EXTRA_SPEECH)
            refusals.append(refused.value)

    mine = train_version(lake, snapshot, both, "v2", tmp_path / "mine", overtake, EXTRA_SPEECH)
    assert [each.fault for each in refusals] == ["environment"], "it is tried again"
    theirs = train_version(lake, snapshot, both, "v1", tmp_path / "theirs", ignore_progress, EXTRA_SPEECH)
    assert theirs.first_stage == mine.first_stage


def test_a_first_stage_without_enough_speech_is_refused_with_its_settings_key(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    for clips, split in ((0, "train"), (1, "train")):
        extra_speech = ExtraSpeech(GeneralSpeech(GENERAL_SPEECH.utterances[:clips], (SOURCE,)))
        with pytest.raises(TrainingError, match=rf"no usable {split} clips .*training\.first_stage"):
            train_version(
                lake,
                snapshot,
                make_two_stage_recipe(recipe),
                "v1",
                tmp_path / str(clips),
                ignore_progress,
                extra_speech,
            )
    assert lake.read_pointer("models/v1/checkpoint") is None


def test_whole_speakers_are_held_out_unless_every_speaker_has_too_many_clips() -> None:
    voices = [make_utterance(number, number // 5) for number in range(100)]
    train, held = split_held_out(voices, 256)
    assert len(held) == 10
    assert len(train) == 90
    assert not {each.session_id for each in held} & {each.session_id for each in train}
    assert len(split_held_out(voices, 7)[1]) == 5
    again = split_held_out(list(reversed(voices)), 256)[1]
    assert {each.segment_id for each in again} == {each.segment_id for each in held}
    one_voice = [replace(each, session_id="general-speech:table:one") for each in voices]
    train, held = split_held_out(one_voice, 8)
    assert (len(train), len(held)) == (92, 8)
    assert {each.segment_id for each in train}.isdisjoint(each.segment_id for each in held)


def test_without_a_first_stage_the_identity_has_no_field_for_it(recipe: Recipe) -> None:
    base = resolve_base_model(recipe)
    plain = RunIdentity.of(recipe, "0" * 64, base)
    assert plain.digest == compute_digest(
        plain.model_dump(mode="json", exclude={"first_stage", "start", "excluded_sounds"})
    )
    both = make_two_stage_recipe(recipe, max_steps=12, evaluate_every_steps=4)
    assert both.digest == recipe.digest
    stage = RunIdentity.of_first_stage(both, base, GENERAL_SPEECH)
    assert RunIdentity.of(both, "0" * 64, base, first_stage=stage).digest != plain.digest


def test_recipe_and_settings_must_agree_before_a_plan_is_pinned(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    def settings(written: Recipe, *sources: Path) -> TrainingSettings:
        path = tmp_path / f"{compute_digest(written.model_dump(mode='json'))[:8]}.yaml"
        path.write_text(yaml.safe_dump(written.model_dump(mode="json", exclude_none=True)))
        return TrainingSettings.model_validate({"recipe": path, "first_stage": list(sources)})

    both = make_two_stage_recipe(recipe)
    without, with_source = settings(both), settings(both, tmp_path)
    unused = settings(recipe, tmp_path)
    with pytest.raises(SettingsError, match=r"section first_stage, but training\.first_stage .* names no source"):
        plan_version(lake, "v1", snapshot, without)
    with pytest.raises(SettingsError, match=r"training\.first_stage .* has no section first_stage"):
        plan_version(lake, "v1", snapshot, unused)
    assert list(lake.list_pointers("models/")) == []
    assert plan_version(lake, "v1", snapshot, settings(recipe)).version == "v1"
    assert resolve_first_stage_sources(both, with_source) == with_source.first_stage
    assert resolve_first_stage_sources(recipe, with_source) == (), "v1 was pinned before there was a first stage"


@pytest.mark.slow
def test_the_metadata_has_the_first_stages_object_sources_and_curve(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path
) -> None:
    record = train_version(lake, snapshot, make_two_stage_recipe(recipe), "v1", tmp_path, ignore_progress, EXTRA_SPEECH)
    assert record.first_stage is not None
    plan = VersionPlan("v1", snapshot.id, "0" * 64, 1.0)
    metadata = build_training_metadata(plan, record, {})
    facts = str(metadata["first stage"].value)
    for value in (record.first_stage.tree[:16], "CC0-1.0", "https"):
        assert value in facts
    assert metadata["first stage: validations"].value.count("\n") == 3
    alone = build_training_metadata(plan, record.model_copy(update={"first_stage": None}), {})
    assert not [name for name in alone if name.startswith("first stage")]


def configure_speech_sources(place: TrainingDeployment, *names: str) -> None:
    """Write a table of general speech and let the keys `names` of the settings say so."""
    folder = place.folder / "general"
    folder.mkdir()
    rows = [("audio_path", "transcript", "speaker")]
    for number in range(24):
        each = make_utterance(number, number // 2)
        rows.append((f"{number}.wav", each.sentence, each.speaker))
        out = io.BytesIO()
        soundfile.write(out, each.audio, 16_000, format="WAV", subtype="PCM_16")
        (folder / f"{number}.wav").write_bytes(out.getvalue())
    with (folder / "fine_tune_dataset.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    settings = yaml.safe_load(place.settings.read_text())
    settings["corpus"]["conventions"] = str(V1)
    for name in names:
        section, key = name.split(".")
        # a folder and its table are two paths of one set
        settings.setdefault(section, {})[key] = "general" if section == "training" else "general/fine_tune_dataset.csv"
    place.settings.write_text(yaml.safe_dump(settings))


@pytest.mark.slow
def test_a_run_killed_in_the_first_stage_resumes_to_the_same_artefact(tmp_path: Path, recipe: Recipe) -> None:
    stage = {**STAGE, "max_steps": 8}
    changes = make_two_stage_recipe(recipe, stage, log_every_steps=1).model_dump(mode="json", exclude_none=True)
    straight, killed = (TrainingDeployment(tmp_path / name, recipe, **changes) for name in ("straight", "killed"))
    for place in (straight, killed):
        configure_speech_sources(place, "training.first_stage")
    done = straight.run("v1")
    assert done.returncode == 0, done.stderr
    step = random.SystemRandom().randint(3, 7)
    assert kill_at(killed.start("v1"), f"first stage: step {step}/8"), f"ended before step {step}"
    assert list(killed.lake.list_pointers("first_stages/")) == []
    resumed = killed.run("v1")
    assert resumed.returncode == 0, resumed.stderr
    assert "first stage: resuming at step" in resumed.stdout
    expected, found = straight.record("v1"), killed.record("v1")
    assert expected.first_stage is not None
    assert found.first_stage is not None
    assert found.first_stage.tree == expected.first_stage.tree, f"killed at step {step}"
    assert found.tree == expected.tree, f"killed at step {step}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "section", "expected"),
    [
        ((), True, "section first_stage, but training.first_stage"),
        (("training.first_stage",), False, "has no section first_stage"),
        (
            ("training.first_stage", "evaluation.out_of_domain"),
            True,
            "are evaluation audio or altered copies of it: 24 of the 24 clips of evaluation.out_of_domain",
        ),
    ],
    ids=["no source", "no section", "measured too"],
)
def test_the_process_refuses_inputs_that_do_not_match(
    tmp_path: Path, recipe: Recipe, names: tuple[str, ...], section: bool, expected: str
) -> None:
    changes = {"first_stage": STAGE} if section else {}
    place = TrainingDeployment(tmp_path, recipe, **changes)
    configure_speech_sources(place, *names)
    refused = place.run("v1")
    assert refused.returncode == 1
    assert expected in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(place.lake.list_pointers("models/")) == []
