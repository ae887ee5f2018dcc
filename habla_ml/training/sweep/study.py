"""The trials of a sweep: chosen by Optuna, kept in SQLite, resumed after a kill.

A killed trial keeps its number and parameters, and its training goes on from its last checkpoint. Each trial is chosen by
a sampler of its own seed, so that an interrupted sweep chooses as an uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from habla_ml.errors import HablaError, SettingsError, TrainingError, classify_fault
from habla_ml.training.recipe import Recipe
from habla_ml.training.sweep.results import SweepResult, TrialResult, TrialState, ValidationResult, write_results
from habla_ml.training.sweep.space import SearchSpace
from habla_ml.training.sweep.trial import SweepInputs, clear_runs, score_as_served, train_trial
from habla_ml.training.trainer import Progress

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_STUDY_FILE: Final = "study.db"
_STUDY_NAME: Final = "sweep"
_RESULT: Final = "result"
"""Attribute of a trial: what it measured besides its score."""
_REASON: Final = "reason"
_CURVE_STEPS: Final = "curve_steps"
"""Attribute of a trial: the optimiser step of each validation; Optuna counts validations from 1."""


def run_sweep(inputs: SweepInputs, space: SearchSpace, report_progress: Callable[[Progress], None]) -> SweepResult:
    """Run the trials that are missing, write the results after each, and return them.

    The caller holds the lock of `inputs.folder`.

    Raises:
        TrainingError: There are no validation clips, or no trial gave a model.
    """
    study = open_study(inputs.folder, space)
    clips = inputs.read_validation()
    if not clips:
        raise TrainingError(
            f"snapshot {inputs.snapshot.id[:12]} has no validation clips; correct more sessions and publish `splits` again"
        )
    while (trial := _next_trial(study, space, inputs.recipe)) is not None:
        values = space.to_values(trial.params)
        described = ", ".join(f"{key} {value}" for key, value in values.items())
        heading = f"trial {trial.number + 1} of {space.trials}"
        report_progress(Progress(f"{heading}: {described}"))
        if (equal := _find_equal(study, trial)) is not None:
            _repeat_result(study, trial, equal)
        else:
            run = TrialRun(study, trial, inputs, partial(_report_trial, report_progress, heading))
            run.finish(space, lambda checkpoint: score_as_served(checkpoint, clips))
        result = _collect(study, inputs, space, len(clips))
        write_results(result, inputs, space)
        report_progress(Progress(f"{heading}: {result.trials[-1].describe()}"))
    clear_runs(inputs.folder)
    result = _collect(study, inputs, space, len(clips))
    write_results(result, inputs, space)
    if result.best is None:
        reasons = "; ".join(sorted({each.reason for each in result.trials if each.reason}))
        raise TrainingError(f"no trial of {inputs.folder.name} gave a model ({reasons}); change the search space")
    return result


def require_optuna() -> None:
    """Raise `SettingsError` if Optuna is not installed."""
    if find_spec("optuna") is None:
        raise SettingsError("a sweep needs Optuna; run pip install 'habla-ml[sweep]'")


def open_study(folder: Path, space: SearchSpace) -> Study:
    """Open the study in `folder`, or create it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if space.pruning is not None:
        first = space.pruning.warmup_validations + 1
        pruner = optuna.pruners.MedianPruner(n_startup_trials=space.pruning.startup_trials, n_warmup_steps=first)
    folder.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=_open_storage(folder), study_name=_STUDY_NAME, direction="minimize", pruner=pruner, load_if_exists=True
    )


def _open_storage(folder: Path) -> Any:
    import optuna

    return optuna.storages.RDBStorage(f"sqlite:///{folder / _STUDY_FILE}")


def _next_trial(study: Study, space: SearchSpace, recipe: Recipe) -> Trial | None:
    """Return the interrupted trial, else a new one, with its parameters; None after the last."""
    import optuna

    trials = study.get_trials(deepcopy=False)
    running = [each for each in trials if each.state == optuna.trial.TrialState.RUNNING]
    waiting = [each for each in trials if each.state == optuna.trial.TrialState.WAITING]
    number = (running or waiting)[0].number if running or waiting else len(trials)
    if number >= space.trials:
        return None
    study.sampler = optuna.samplers.TPESampler(seed=space.seed + number)
    if not trials and (own := space.find_parameters(recipe)) is not None:
        study.enqueue_trial(own)
    trial = _resume(study, running[0]) if running else study.ask()
    for key, distribution in space.to_distributions(recipe).items():
        _suggest(trial, key, distribution)
    return trial


def _resume(study: Study, interrupted: FrozenTrial) -> Trial:
    """Return an interrupted trial, to go on with its number, parameters and curve."""
    import optuna

    return optuna.Trial(study, interrupted._trial_id)


def _suggest(trial: Trial, key: str, distribution: BaseDistribution) -> None:
    """Choose a parameter, unless the trial has it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, FloatDistribution):
        trial.suggest_float(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    elif isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(key, distribution.choices)


def _report_trial(report_progress: Callable[[Progress], None], heading: str, update: Progress) -> None:
    report_progress(replace(update, message=f"{heading}: {update.message}"))


def _find_equal(study: Study, trial: Trial) -> FrozenTrial | None:
    """Return an earlier trial with the same parameters, since the same training gives the same result."""
    earlier = study.get_trials(deepcopy=False)[: trial.number]
    return next((each for each in earlier if each.params == trial.params), None)


def _repeat_result(study: Study, trial: Trial, earlier: FrozenTrial) -> None:
    for name, value in earlier.user_attrs.items():
        trial.set_user_attr(name, value)
    for at, wer in earlier.intermediate_values.items():
        trial.report(wer, at)
    trial.set_user_attr(_REASON, f"as trial {earlier.number + 1}")
    study.tell(trial, earlier.value, earlier.state)


@dataclass(frozen=True)
class TrialRun:
    """A trial that is trained."""

    study: Study
    trial: Trial
    inputs: SweepInputs
    report_progress: Callable[[Progress], None]

    def finish(self, space: SearchSpace, score: Callable[[Path], float]) -> None:
        """Train and score the trial, and store its state. A fault of the environment leaves it to be resumed."""
        import optuna

        state, wer = optuna.trial.TrialState.COMPLETE, None
        try:
            wer = self._train(space, score)
        except optuna.TrialPruned:
            state = optuna.trial.TrialState.PRUNED
        except (HablaError, ValidationError) as error:
            if classify_fault(error) == "environment":
                raise
            state = optuna.trial.TrialState.FAIL
            reason = str(error) if isinstance(error, HablaError) else "; ".join(each["msg"] for each in error.errors())
            self.trial.set_user_attr(_REASON, reason)
        self.study.tell(self.trial, wer, state)
        clear_runs(self.inputs.folder)

    def _train(self, space: SearchSpace, score: Callable[[Path], float]) -> float:
        values = space.to_values(self.trial.params)
        recipe = self.inputs.add_start(space.apply(self.inputs.recipe, values))
        recipe = recipe.model_copy(update={"report_to": ("tensorboard",)})
        clear_runs(self.inputs.folder, [each for each in self.inputs.identify(recipe) if each is not None])
        trained, checkpoint = train_trial(self.inputs, recipe, self.report)
        measured = {
            "validation_loss": trained.best.loss,
            "best_step": trained.best_step,
            "steps": trained.steps,
            "wall_s": round(trained.wall_s, 1),
        }
        self.trial.set_user_attr(_RESULT, measured)
        return score(checkpoint)

    def report(self, update: Progress) -> None:
        """Pass the progress on; a validation may end the trial."""
        import optuna

        self.report_progress(update)
        if update.validation_wer is None or update.is_first_stage:
            return
        steps = self.trial.user_attrs.get(_CURVE_STEPS, [])
        if update.step not in steps:  # a resumed run repeats the last ones
            steps = [*steps, update.step]
            self.trial.set_user_attr(_CURVE_STEPS, steps)
            self.trial.report(update.validation_wer, len(steps))
        if steps[-1] == update.step and self.trial.should_prune():
            raise optuna.TrialPruned


def _collect(study: Study, inputs: SweepInputs, space: SearchSpace, n_clips: int) -> SweepResult:
    import optuna

    names: dict[Any, TrialState] = {
        optuna.trial.TrialState.COMPLETE: "finished",
        optuna.trial.TrialState.PRUNED: "pruned",
        optuna.trial.TrialState.FAIL: "failed",
    }
    trials = [
        TrialResult(
            number=each.number + 1,
            state=names[each.state],
            values=space.to_values(each.params),
            validation_wer=each.value if each.state == optuna.trial.TrialState.COMPLETE else None,
            curve=tuple(
                ValidationResult(step=step, wer=each.intermediate_values[at])
                for at, step in enumerate(each.user_attrs.get(_CURVE_STEPS, []), start=1)
                if at in each.intermediate_values
            ),
            reason=each.user_attrs.get(_REASON, ""),
            **each.user_attrs.get(_RESULT, {}),
        )
        for each in study.get_trials(deepcopy=False)
        if each.state in names
    ]
    return SweepResult(
        name=inputs.folder.name,
        recipe=inputs.recipe.name,
        snapshot=inputs.snapshot.id,
        n_clips=n_clips,
        n_trials=space.trials,
        trials=tuple(trials),
    )
