from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.lake import Lake
from habla_ml.training import averaging
from habla_ml.training.averaging import average_best, average_models
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.checkpoints import ValidationPoint, get_checkpoint_folder, prune_checkpoints
from habla_ml.training.model_folder import load_whisper_model, prepare_trainable_model
from habla_ml.training.recipe import Recipe
from habla_ml.training.train import train_version
from habla_ml_tests.training.test_trainer import change_recipe, prepare_test_run

LORA = {"method": "lora", "lora": {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": ["q_proj", "fc1"]}}


def write_random_checkpoint(recipe: Recipe, folder: Path, seed: int) -> dict[str, torch.Tensor]:
    """Write a checkpoint with random changes; return its weights with merged adapters."""
    model = prepare_trainable_model(recipe, resolve_base_model(recipe).folder)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in model.parameters():
            if each.requires_grad:
                each.add_(0.1 * torch.randn(each.shape, generator=generator))
    model.save_pretrained(folder)
    whole = model.merge_and_unload() if recipe.lora is not None else model
    return {name: weights.clone() for name, weights in whole.named_parameters()}


@pytest.mark.long
@pytest.mark.parametrize("changes", [{}, LORA], ids=["full", "lora"])
def test_the_average_has_the_mean_of_each_weight_also_of_merged_adapters(
    recipe: Recipe, tmp_path: Path, changes: dict[str, Any]
) -> None:
    changed = change_recipe(recipe, **changes)
    folders = [tmp_path / str(seed) for seed in range(3)]
    weights = [write_random_checkpoint(changed, folder, seed) for seed, folder in enumerate(folders)]
    found = dict(average_models(folders, resolve_base_model(changed).folder).named_parameters())
    assert found.keys() == weights[0].keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, sum(each[name] for each in weights) / 3, rtol=1e-5, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize(("best_wer", "is_averaged"), [(0.0, False), (9.0, True)])
def test_the_average_is_taken_only_if_it_validates_no_worse_than_the_best(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path, best_wer: float, is_averaged: bool
) -> None:
    messages: list[str] = []
    run = prepare_test_run(lake, snapshot, change_recipe(recipe, average_checkpoints=2), tmp_path)
    run = replace(run, report_progress=lambda progress: messages.append(progress.message))
    for step in (4, 8, 12):
        write_random_checkpoint(recipe, get_checkpoint_folder(run.checkpoints, step), step)
    curve = [ValidationPoint(step=step, wer=best_wer + step / 100, loss=1.0) for step in (4, 8, 12)]
    curve[0] = curve[0].model_copy(update={"wer": best_wer})
    average = average_best(run, curve, resolve_base_model(recipe).folder, tmp_path / "averaged")
    assert (average is not None) is is_averaged
    if average is not None:
        assert average.steps == (4, 8)
        assert average.point.step == 4
        assert load_whisper_model(average.folder).num_parameters()
    assert "mean of steps 4, 8: validation WER" in messages[-1]
    assert ("the mean is published" in messages[-1]) is is_averaged


def test_only_the_last_checkpoint_keeps_its_optimiser(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8):
        folder = get_checkpoint_folder(tmp_path, step)
        folder.mkdir()
        for name in ("model.safetensors", "optimizer.pt"):
            (folder / name).write_bytes(b"x")
    prune_checkpoints(tmp_path, {2, 4, 8})
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*"))
    assert files == [
        "checkpoint-2/model.safetensors",
        "checkpoint-4/model.safetensors",
        "checkpoint-8/model.safetensors",
        "checkpoint-8/optimizer.pt",
    ]


@pytest.mark.slow
def test_a_version_publishes_the_mean_of_its_best_checkpoints(
    lake: Lake, snapshot: Snapshot, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[dict[str, torch.Tensor]] = []
    original = averaging.average_models

    def note(checkpoints: list[Path], start: Path) -> Any:
        kept.extend(load_file(folder / "model.safetensors") for folder in checkpoints)
        return original(checkpoints, start)

    monkeypatch.setattr(averaging, "average_models", note)
    # At this rate the text does not change, so the mean is as good as the best.
    quick = change_recipe(recipe, average_checkpoints=3, learning_rate=1e-7, max_steps=6, evaluate_every_steps=2)
    record = train_version(lake, snapshot, quick, "v1", tmp_path / "work", lambda _: None)
    assert sorted(record.averaged_steps) == [2, 4, 6]
    assert record.best == record.average
    published = load_file(lake.checkout_tree(record.tree, tmp_path / "out") / "model.safetensors")
    name = "model.encoder.layers.0.fc1.weight"
    torch.testing.assert_close(published[name], sum(each[name] for each in kept) / 3)
    assert not torch.equal(published[name], kept[0][name])
