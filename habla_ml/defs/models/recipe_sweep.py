"""`recipe_sweep`: a search over recipe keys on the validation split, in its own process; trains no version."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import dagster as dg
from pydantic import Field

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.models.checkpoint import TRAINING_POOL, run_training_process
from habla_ml.defs.partitions import MODEL_OWNERS
from habla_ml.defs.plots import line
from habla_ml.defs.presentation import plot, show_table, to_percent
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
            metadata={
                "best recipe": dg.MetadataValue.path(str(folder / RECIPE_FILE)),
                "all trials": dg.MetadataValue.path(str(folder / TABLE_FILE)),
                **_describe_result(read_result(folder)),
            },
        )

    return recipe_sweep


def _describe_result(result: "SweepResult") -> dict[str, dg.MetadataValue]:
    from habla_ml.training.sweep.results import build_results_table

    finished = [(each.number, each.validation_wer) for each in result.trials if each.validation_wer is not None]
    points = [(float(number), to_percent(wer)) for number, wer in finished]
    return {
        "trials": show_table(build_results_table(result)),
        "best validation WER %": dg.MetadataValue.float(min(wer for _, wer in points)),
        "finished trials": dg.MetadataValue.int(len(finished)),
        "pruned trials": dg.MetadataValue.int(sum(each.state == "pruned" for each in result.trials)),
        "failed trials": dg.MetadataValue.int(sum(each.state == "failed" for each in result.trials)),
        "recipe": dg.MetadataValue.text(result.recipe),
        "snapshot": dg.MetadataValue.text(result.snapshot),
        "validation WER by trial": plot(line(points, "trial", "validation WER %"), "validation WER by trial"),
    }
