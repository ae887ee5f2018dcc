"""What a sweep found: a table, files for other programs, and the best recipe."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from habla_ml.tables import TableColumn, TextTable
from habla_ml.training.sweep.space import SearchSpace
from habla_ml.training.sweep.trial import SweepInputs

TABLE_FILE: Final = "trials.csv"
RESULT_FILE: Final = "sweep.json"
RECIPE_FILE: Final = "best_recipe.yaml"

TrialState = Literal["finished", "pruned", "failed"]


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ValidationResult(_Result):
    """One validation during the training of a trial, in short windows."""

    step: int
    wer: float


class TrialResult(_Result):
    """One trial that has ended."""

    number: int
    """From 1 on."""
    state: TrialState
    values: dict[str, Any]
    """Recipe key → value."""
    validation_wer: float | None
    """WER of the finished weights as served; None unless the trial is finished."""
    curve: tuple[ValidationResult, ...]
    reason: str = ""
    """Why it failed, or which trial it repeats."""
    validation_loss: float | None = None
    """Of the best step, on the clips of the curve."""
    best_step: int | None = None
    steps: int | None = None
    wall_s: float | None = None
    """Training time, over all attempts."""

    def describe(self) -> str:
        """Return state and score in a few words."""
        if self.validation_wer is not None:
            text = f"validation WER {self.validation_wer:.1%} as served"
        elif self.curve:
            text = f"{self.state} at step {self.curve[-1].step}, validation WER {self.curve[-1].wer:.1%}"
        else:
            text = self.state
        return f"{text} ({self.reason})" if self.reason else text


class SweepResult(_Result):
    """The trials so far."""

    name: str
    """Name of the sweep's folder."""
    recipe: str
    """Name of the recipe whose keys were changed."""
    snapshot: str
    n_clips: int
    """Validation clips that score each trial."""
    n_trials: int
    """Trials of the finished sweep."""
    trials: tuple[TrialResult, ...]

    @property
    def best(self) -> TrialResult | None:
        """The trial with the lowest WER, then the lowest loss, then the earliest; None if no trial is finished."""
        finished = [each for each in self.trials if each.validation_wer is not None]
        return min(
            finished, key=lambda each: (each.validation_wer, each.validation_loss or 0.0, each.number), default=None
        )

    @property
    def keys(self) -> list[str]:
        """The recipe keys of the sweep."""
        return list(dict.fromkeys(key for each in self.trials for key in each.values))


def build_results_table(result: SweepResult) -> TextTable:
    """Return the trials as a table, the best first."""
    order = {"finished": 0, "pruned": 1, "failed": 2}
    trials = sorted(result.trials, key=lambda each: (order[each.state], each.validation_wer or 0.0, each.number))
    columns = [
        TableColumn("trial"),
        *(TableColumn(key) for key in result.keys),
        TableColumn("validation WER"),
        TableColumn("step"),
        TableColumn("result", is_numeric=False),
    ]
    rows = (
        [
            str(each.number),
            *(_format_value(each.values.get(key)) for key in result.keys),
            "" if each.validation_wer is None else f"{each.validation_wer:.1%}",
            "" if each.best_step is None else str(each.best_step),
            each.state if not each.reason else f"{each.state}: {each.reason}",
        ]
        for each in trials
    )
    title = f"{len(result.trials)} of {result.n_trials} trials of {result.recipe}, on {result.n_clips} validation clips"
    return TextTable.of(title, columns, rows)


def write_results(result: SweepResult, inputs: SweepInputs, space: SearchSpace) -> None:
    """Write the trials as JSON and CSV, and the best recipe, into the folder of the sweep."""
    _write(inputs.folder / RESULT_FILE, result.model_dump_json(indent=2) + "\n")
    _write(inputs.folder / TABLE_FILE, _format_csv(result))
    if (best := result.best) is not None:
        _write(inputs.folder / RECIPE_FILE, _format_recipe(best, result, inputs, space))


def read_result(folder: Path) -> SweepResult:
    """Read what `write_results` wrote."""
    return SweepResult.model_validate_json((folder / RESULT_FILE).read_bytes())


def _format_recipe(best: TrialResult, result: SweepResult, inputs: SweepInputs, space: SearchSpace) -> str:
    """Return the recipe of the best trial as YAML, with its origin in comments."""
    recipe = space.apply(inputs.recipe, best.values)
    tree = recipe.model_copy(update={"name": f"{recipe.name}-sweep"}).model_dump(mode="json", exclude_unset=True)
    return (
        f"# Best of {len(result.trials)} trials of {inputs.recipe.name} on the validation split of snapshot "
        f"{inputs.snapshot.id[:12]}:\n"
        f"# trial {best.number} has {best.validation_wer:.1%} WER on {result.n_clips} clips. The best of many trials "
        "looks better than it is.\n"
        "# To confirm it, train a version with each recipe, then replicates of both with `habla-ml repeat`.\n"
        f"{yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)}"
    )


def _format_csv(result: SweepResult) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    measured = ("validation_wer", "validation_loss", "best_step", "steps", "wall_s")
    writer.writerow(["trial", "state", *result.keys, *measured, "reason"])
    for each in result.trials:
        values = [_format_value(each.values.get(key)) for key in result.keys]
        writer.writerow([each.number, each.state, *values, *(getattr(each, name) for name in measured), each.reason])
    return out.getvalue()


def _format_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)


def _write(path: Path, text: str) -> None:
    """Replace a file in one step."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(text, "utf-8")
    partial.replace(path)
