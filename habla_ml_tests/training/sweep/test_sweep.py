"""A sweep: real trainings that publish nothing, resumed after a kill, and the test split is never read."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from habla_ml.lake import catalogue
from habla_ml.training.plan import list_evaluated_trainings
from habla_ml.training.recipe import Recipe, load_recipe
from habla_ml.training.sweep.process import main
from habla_ml.training.sweep.results import RECIPE_FILE, TABLE_FILE, SweepResult, read_result
from habla_ml.training.sweep.space import SearchSpace
from habla_ml.training.sweep.study import TrialRun, open_study
from habla_ml.training.sweep.trial import SweepInputs
from habla_ml.training.trainer import Progress
from habla_ml_tests.testing.training_deployment import ROOT, TrainingDeployment, kill_at, quiet_environment
from habla_ml_tests.testing.training_snapshot import TrainingClipSpec, make_clips, publish_snapshot

SPACE = {
    "keys": {"learning_rate": {"low": 1e-3, "high": 2e-2, "log": True}, "windows.full_share": [0.0, 0.5]},
    "trials": 3,
    "seed": 3,
}
TEST_CLIPS = [TrainingClipSpec(f"test-{number}", "test", "frase reservada", 1.5) for number in range(4)]


@dataclass(frozen=True)
class SweepDeployment:
    """A deployment whose snapshot has a test split with audio that cannot be read."""

    training: TrainingDeployment
    space: Path
    snapshot: str

    @classmethod
    def create(cls, folder: Path, tiny_base: Path) -> SweepDeployment:
        recipe = {"name": "tiny", "base_model": str(tiny_base), "learning_rate": 5e-3, "max_steps": 6, "batch_s": 9.0}
        recipe |= {"windows": {"full_share": 0.5}, "evaluate_every_steps": 2, "log_every_steps": 1, "threads": 1}
        training = TrainingDeployment(folder, Recipe.model_validate(recipe))
        space = folder / "configs" / "space.yaml"
        space.write_text(yaml.safe_dump(SPACE))
        snapshot = publish_snapshot(training.lake, [*make_clips(), *TEST_CLIPS], unreadable=["test"])
        return cls(training, space, snapshot.id)

    @property
    def words(self) -> list[str]:
        """The options of the process."""
        settings, recipe = self.training.settings, self.training.recipe
        return [
            *("--settings", str(settings), "--recipe", str(recipe)),
            *("--space", str(self.space), "--snapshot", self.snapshot),
        ]

    @property
    def folder(self) -> Path:
        (folder,) = (self.training.folder / "work" / "training").glob("sweep-*")
        return folder

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "habla_ml.training.sweep", *self.words],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=quiet_environment(),
        )


@pytest.fixture(scope="module")
def finished(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepDeployment:
    """Return a deployment with a finished sweep; do not change it."""
    deployment = SweepDeployment.create(tmp_path_factory.mktemp("sweep"), tiny_base)
    assert main(deployment.words) == 0
    return deployment


def strip_times(result: SweepResult) -> dict[str, object]:
    return result.model_dump(exclude={"trials": {"__all__": {"wall_s"}}})


@pytest.mark.slow
def test_a_sweep_compares_trials_on_validation_and_publishes_nothing(finished: SweepDeployment) -> None:
    result, lake = read_result(finished.folder), finished.training.lake
    assert [each.state for each in result.trials] == ["finished"] * 3
    assert all(each.validation_wer is not None and len(each.curve) == 3 for each in result.trials)
    assert result.trials[0].values == {"learning_rate": 5e-3, "windows.full_share": 0.5}, (
        "the recipe's own values first"
    )
    assert len({each.values["learning_rate"] for each in result.trials}) == 3
    assert len({each.validation_loss for each in result.trials}) == 3
    assert result.n_clips == 4, "the validation clips; the audio of the test split is unreadable"
    assert list(lake.list_pointers("models/")) == list(lake.list_pointers("first_stages/")) == []
    assert list_evaluated_trainings(lake) == []
    assert list(catalogue.PLAN.keys(lake)) == []
    left = [path for path in finished.folder.glob("*/*") if path.name != "tensorboard"]
    assert left == [], "no clip and no checkpoint remains"


@pytest.mark.slow
def test_the_best_trial_is_a_recipe_and_all_trials_are_a_table(finished: SweepDeployment) -> None:
    result = read_result(finished.folder)
    assert result.best is not None
    assert (result.best.validation_wer, result.best.validation_loss) == min(
        (each.validation_wer, each.validation_loss) for each in result.trials
    )
    path = finished.folder / RECIPE_FILE
    recipe, own = load_recipe(path), load_recipe(finished.training.recipe)
    assert (recipe.name, recipe.learning_rate) == ("tiny-sweep", result.best.values["learning_rate"])
    assert (
        recipe.model_copy(update={"name": own.name, "learning_rate": own.learning_rate, "windows": own.windows}) == own
    )
    assert "looks better than it is" in path.read_text("utf-8")
    with (finished.folder / TABLE_FILE).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation_wer"]) for row in rows] == [each.validation_wer for each in result.trials]


@pytest.mark.slow
def test_a_finished_sweep_is_not_run_again(finished: SweepDeployment, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_result(finished.folder)
    assert main(finished.words) == 0
    printed = capsys.readouterr().out
    assert "training on" not in printed
    assert "3 of 3" not in printed
    assert read_result(finished.folder) == before


@pytest.mark.slow
def test_a_killed_sweep_resumes_its_trial_and_ends_with_the_same_result(
    finished: SweepDeployment, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = SweepDeployment.create(tmp_path, tiny_base)
    assert kill_at(killed.start(), "trial 2 of 3: step 5/6"), "the sweep ended before"
    assert len(read_result(killed.folder).trials) == 1
    assert main(killed.words) == 0
    printed = capsys.readouterr().out
    assert "trial 2 of 3: resuming at step" in printed
    assert "trial 1 of 3" not in printed
    assert strip_times(read_result(killed.folder)) == strip_times(read_result(finished.folder))


def make_run(folder: Path, space: SearchSpace, recipe: Recipe, curves: list[list[float]]) -> TrialRun:
    """Return a run of a new trial after finished trials with these curves."""
    study = open_study(folder, space)
    distributions = space.to_distributions(recipe)
    for curve in curves:
        trial = study.ask(distributions)
        for at, wer in enumerate(curve, start=1):
            trial.report(wer, at)
        study.tell(trial, curve[-1])
    inputs = SweepInputs(None, None, recipe, None, None, folder)  # type: ignore[arg-type]
    return TrialRun(study, study.ask(distributions), inputs, lambda _: None)


@pytest.mark.long
def test_a_trial_ends_where_it_is_worse_than_the_median_at_the_same_validation(tmp_path: Path, recipe: Recipe) -> None:
    import optuna

    pruning = {"startup_trials": 3, "warmup_validations": 1}
    space = SearchSpace.model_validate({"keys": {"label_smoothing": [0.0, 0.1]}, "pruning": pruning})
    run = make_run(tmp_path, space, recipe, [[0.9, 0.5, 0.4], [0.9, 0.6, 0.5], [0.9, 0.7, 0.6]])
    run.report(Progress("the first validation cannot end a trial", step=4, validation_wer=1.0))
    run.report(Progress("a resumed run repeats it", step=4, validation_wer=1.0))
    run.report(Progress("a first stage does not count", step=8, validation_wer=3.0, is_first_stage=True))
    with pytest.raises(optuna.TrialPruned):
        run.report(Progress("above the median of 0.6", step=8, validation_wer=0.61))
    better = make_run(tmp_path / "other", space, recipe, [[0.9, 0.5], [0.9, 0.6], [0.9, 0.7]])
    better.report(Progress("", step=4, validation_wer=1.0))
    better.report(Progress("", step=8, validation_wer=0.59))


def test_values_that_contradict_each_other_fail_their_trial_with_the_reason(tmp_path: Path, recipe: Recipe) -> None:
    base = recipe.model_copy(update={"epochs": 1.0})
    space = SearchSpace.model_validate({"keys": {"min_steps": [20, 30]}})
    run = make_run(tmp_path, space, base, [])
    run.finish(space, lambda _: 0.0)
    (trial,) = run.study.get_trials()
    assert trial.state.name == "FAIL"
    assert "is above max_steps 12" in trial.user_attrs["reason"]
