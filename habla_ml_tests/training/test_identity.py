"""What repeats a training, and what only has to agree with an unfinished one."""

from pathlib import Path
from typing import Any

import pytest

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.errors import TrainingError
from habla_ml.lake import Lake
from habla_ml.training import identity as identity_module
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.identity import TRAINING_CODE, RunIdentity
from habla_ml.training.recipe import Recipe
from habla_ml.training.train import train_version
from habla_ml.training.trainer import Progress


def change_recipe(recipe: Recipe, **changes: Any) -> Recipe:
    return recipe.model_validate(recipe.model_dump() | changes)


def stop_at_step_3(progress: Progress) -> None:
    if progress.step == 3 and progress.loss is not None:
        raise KeyboardInterrupt


def test_the_identity_has_device_precision_and_attention(recipe: Recipe) -> None:
    found = RunIdentity.of(change_recipe(recipe, precision="fp32"), "0" * 64, resolve_base_model(recipe))
    assert (found.device, found.precision, found.attention) == ("cpu", "fp32", "eager, sdpa")
    for change in ({"device": "NVIDIA T4"}, {"precision": "bf16"}, {"attention": "sdpa"}, {"packages": {"torch": "1"}}):
        other = found.model_copy(update=change)
        assert other.digest != found.digest
        assert found.has_inputs_of(other)
    for change in ({"recipe": "1"}, {"snapshot": "1"}, {"seed": 1}, {"excluded_sounds": "1"}):
        assert not found.has_inputs_of(found.model_copy(update=change))


def test_forms_of_targets_change_only_the_identities_that_use_them(recipe: Recipe) -> None:
    base = resolve_base_model(recipe)
    usual = RunIdentity.of(recipe, "0" * 64, base)
    explicit = RunIdentity.of(change_recipe(recipe, timestamps_share=0.0, previous_text_share=0.0), "0" * 64, base)
    assert (explicit.digest, usual.labels) == (usual.digest, "es-transcribe-notimestamps/2")
    assert "faster-whisper" not in usual.packages
    mixed = RunIdentity.of(change_recipe(recipe, timestamps_share=0.2, previous_text_share=0.1), "0" * 64, base)
    assert mixed.labels == "es-transcribe-notimestamps/2, es-transcribe-timestamps/1, startofprev/1"
    assert mixed.packages.keys() - usual.packages.keys() == {"faster-whisper"}
    assert not usual.has_inputs_of(mixed)


@pytest.mark.slow
def test_a_published_version_is_not_trained_again_by_other_packages_unless_asked(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = change_recipe(recipe, max_steps=2, evaluate_every_steps=2)
    published = train_version(lake, snapshot, quick, "v1", tmp_path / "a", lambda _: None)
    monkeypatch.setattr(identity_module, "TRAINING_CODE", "later")
    reported: list[Progress] = []
    assert train_version(lake, snapshot, quick, "v1", tmp_path / "b", reported.append) == published
    [line] = reported
    assert line.message.endswith(
        f"It was trained with code {TRAINING_CODE} instead of later; to train it again here, set train_again or pass --again"
    )
    again = train_version(lake, snapshot, quick, "v1", tmp_path / "b", lambda _: None, again=True)
    assert (again.identity.code, again.tree) == ("later", published.tree)


@pytest.mark.slow
def test_an_unfinished_run_of_another_device_is_not_resumed_silently(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = change_recipe(recipe, max_steps=4, evaluate_every_steps=2, log_every_steps=1)
    with pytest.raises(KeyboardInterrupt):
        train_version(lake, snapshot, quick, "v1", tmp_path, stop_at_step_3)
    monkeypatch.setattr(identity_module, "name_device", lambda: "NVIDIA T4")
    with pytest.raises(TrainingError, match=r"has step 2 of this training, made with device cpu instead of NVIDIA T4"):
        train_version(lake, snapshot, quick, "v1", tmp_path, lambda _: None)
    reported: list[Progress] = []
    record = train_version(lake, snapshot, quick, "v1", tmp_path, reported.append, again=True)
    assert record.identity.device == "NVIDIA T4"
    assert [each.step for each in reported if each.loss is not None] == [1, 2, 3, 4], "the run began at its first step"
