"""Trackers of a run. Those of MLflow and Weights & Biases work offline, and run where their packages are installed."""

import json
from pathlib import Path
from typing import Any

import pytest

from habla_ml.errors import TrainingError
from habla_ml.training import trackers as trackers_module
from habla_ml.training.process import main
from habla_ml.training.recipe import Recipe
from habla_ml.training.trackers import build_tracker_callbacks, open_trackers, require_trackers
from habla_ml_tests.testing.training_deployment import TrainingDeployment


def change_recipe(recipe: Recipe, **changes: Any) -> Recipe:
    return recipe.model_validate(recipe.model_dump() | changes)


def train_twice(folder: Path, recipe: Recipe, tracker: str) -> TrainingDeployment:
    """Train v1 in a process of its own folder, stopped by its limit after some steps, then to the end."""
    deployment = TrainingDeployment(
        folder, recipe, max_steps=4, evaluate_every_steps=2, report_to=[tracker], log_every_steps=1
    )
    command = ["--settings", str(deployment.settings), "--version", "v1", "--out", str(folder / "work" / "v1")]
    text = deployment.settings.read_text()
    limited = text.replace("training:\n", "training:\n  limit_h: 1.0e-9\n")
    assert limited != text
    deployment.settings.write_text(limited)
    assert main([*command, "--snapshot", deployment.snapshot.id]) == 1
    deployment.settings.write_text(text)
    assert main(command) == 0
    return deployment


@pytest.mark.parametrize("left", ["", '{"mlflow": "a1', "[]"])
def test_a_file_of_runs_that_a_full_disk_cut_ends_no_training(tmp_path: Path, left: str) -> None:
    (tmp_path / "trackers.json").write_text(left)
    with open_trackers(["tensorboard"], "v1", {}, tmp_path, tmp_path, print) as found:
        assert found == {}
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("trackers.json", "{}")]


def test_mlflow_has_one_run_with_the_version_its_inputs_and_its_curves(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    deployment = train_twice(tmp_path, recipe, "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'work' / 'mlflow.db'}")
    [experiment] = [each for each in client.search_experiments() if each.name == "habla_ml"]
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("v1", "FINISHED")
    assert run.data.tags["snapshot"] == deployment.snapshot.id
    assert run.data.tags["report"].endswith("/reports/v1")
    assert run.data.tags["lineage"].startswith("habla-ml lineage v1")
    record = deployment.record("v1")
    points = client.get_metric_history(run.info.run_id, "eval_wer")
    assert [each.value for each in points] == pytest.approx([each.wer for each in record.validation])
    assert {"loss", "learning_rate", "clips_per_h", "memory_gb"} < set(run.data.metrics)


def test_wandb_writes_an_offline_run_with_the_version_and_its_inputs(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    deployment = train_twice(tmp_path, recipe, "wandb")
    files = sorted((tmp_path / "work" / "wandb").glob("offline-run-*/*.wandb"))
    known = json.loads((tmp_path / "work" / "v1" / "trackers.json").read_text())
    assert {each.stem for each in files} == {f"run-{known['wandb']}"}, "both attempts are one run"
    written = b"".join(each.read_bytes() for each in files)
    for expected in (deployment.snapshot.id, "reports/v1", "eval/wer", "train/clips_per_h"):
        assert expected.encode() in written


def test_a_tracker_without_its_package_is_refused_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    require_trackers(("tensorboard",), "tiny")
    monkeypatch.setattr(trackers_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"recipe tiny has wandb in report_to.*pip install 'habla-ml\[wandb\]'"):
        require_trackers(("wandb",), "tiny")


def test_a_tracker_that_fails_is_left_out_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> tuple[str, str]:
        raise ConnectionError("the server is down")

    messages: list[str] = []
    monkeypatch.setattr(trackers_module, "_start_mlflow", refuse)
    with open_trackers(("tensorboard", "mlflow"), "v1", {}, tmp_path, tmp_path, messages.append) as found:
        assert found == {}
    assert messages == ["mlflow is left out: ConnectionError: the server is down"]

    class LostTracker:
        calls = 0

        def on_log(self, *_: Any, **__: Any) -> None:
            self.calls += 1
            raise ConnectionError("the server is down")

    lost = LostTracker()
    guarded = trackers_module._guard(lost, "mlflow", messages.append)
    guarded.on_log(None, None, None, logs={})
    guarded.on_log(None, None, None, logs={})
    assert lost.calls == 1
    assert messages[1:] == ["mlflow is left out from here on: ConnectionError: the server is down"]


def test_trackers_do_not_change_what_is_trained(recipe: Recipe, tmp_path: Path) -> None:
    assert change_recipe(recipe, report_to=["mlflow", "wandb"]).digest == recipe.digest
    assert build_tracker_callbacks((), tmp_path, lambda _: None) == []
