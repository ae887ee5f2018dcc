"""`recipe_sweep`: a search over recipe keys on the validation split, in its own process; trains no version."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import dagster as dg
from pydantic import Field

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.models.checkpoint import TRAINING_POOL, run_training_process
from habla_ml.defs.partitions import MODEL_OWNERS
from habla_ml.defs.plots import plot_line
from habla_ml.defs.presentation import show_table, to_percent
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.settings import Settings, save_settings

if TYPE_CHECKING:
    from habla_ml.training.sweep.results import SweepResult


class RecipeSweepConfig(dg.Config):
    """What a person can set for one launch."""

    recipe: str = Field(default="", description="Path of the recipe whose keys are changed; empty for training.recipe.")
    space: str = Field(default="", description="Path of what to search; empty for training.search_space.")


def build_recipe_sweep(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset; its launchpad takes a `RecipeSweepConfig`."""

    @dg.asset(
        deps=["splits"],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds={"pytorch", "optuna"},
        pool=TRAINING_POOL,
        code_version=get_code_version("recipe_sweep"),
        description=(
            "Trainings with other values of recipe keys, compared on the validation split of the newest snapshot; the test "
            "split is not read and no version is made. A stopped sweep goes on where it was. The result is a recipe file. "
            "Also runs without Dagster: habla-ml sweep."
        ),
    )
    def recipe_sweep(context: dg.AssetExecutionContext, config: RecipeSweepConfig) -> dg.MaterializeResult:
        from habla_ml.training.sweep.results import RECIPE_FILE, TABLE_FILE, read_result

        saved = save_settings(settings, settings.work_folder / "settings")
        command = [sys.executable, "-m", "habla_ml.training.sweep", "--settings", str(saved)]
        for option, path in (("--recipe", config.recipe), ("--space", config.space)):
            command += [option, path] if path else []
        run = run_training_process(command, context)
        done = run.get_materialize_result(implicit_materialization=False)
        folder = Path(cast(dg.PathMetadataValue, (done.metadata or {})["folder"]).value or "")
        return dg.MaterializeResult(
            data_version=done.data_version,
            metadata=_describe_result(
                read_result(folder), {"best recipe": folder / RECIPE_FILE, "all trials": folder / TABLE_FILE}
            ),
        )

    return recipe_sweep


def _describe_result(result: "SweepResult", files: Mapping[str, Path]) -> dict[str, dg.MetadataValue]:
    from habla_ml.training.sweep.results import build_results_table

    finished = [(each.number, each.validation_wer) for each in result.trials if each.validation_wer is not None]
    points = [(float(number), to_percent(wer)) for number, wer in finished]
    best = min(wer for _, wer in points)
    return build_result_metadata(
        f"trainings with other values of the recipe {result.recipe}, compared on the validation split",
        {"best validation WER": f"{best:.1f} %", "finished trials": len(finished)},
        "set `training.recipe` to the file at `best recipe`, then launch the job `new_version`",
        details={
            "validation WER by trial": plot_line(points, "trial", "validation WER by trial, %"),
            "trials": show_table(build_results_table(result)),
            **files,
            "best validation WER %": best,
            "finished trials": len(finished),
            "pruned trials": sum(each.state == "pruned" for each in result.trials),
            "failed trials": sum(each.state == "failed" for each in result.trials),
            "recipe": result.recipe,
            "snapshot": result.snapshot,
        },
    )
