"""`fine_tuned_checkpoint`: a model version, trained in its own process through Dagster Pipes."""

import signal
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.models.training_metadata import build_progress_metadata, build_training_metadata
from habla_ml.defs.partitions import MODEL_OWNERS, model_versions
from habla_ml.defs.pipe_messages import WholeLineMessageReader
from habla_ml.defs.presentation import name_lineage
from habla_ml.defs.resources import StoreResource
from habla_ml.errors import TrainingError, TrainingInterruptedError, TrainingKilledError
from habla_ml.settings import Settings, save_settings

if TYPE_CHECKING:
    from habla_ml.lake import Lake
    from habla_ml.training.plan import VersionPlan

TRAINING_POOL = "training"


class TrainingRunConfig(dg.Config):
    """What a person can set for one launch."""

    train_again: bool = Field(
        default=False,
        description="Train from the start where other code, packages or another machine made the version or its checkpoints.",
    )


def build_fine_tuned_checkpoint(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset, partitioned by model version."""

    @dg.asset(
        partitions_def=model_versions,
        deps=["splits"],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds={"pytorch", "huggingface"},
        pool=TRAINING_POOL,
        code_version=get_code_version("fine_tuned_checkpoint"),
        description=(
            "Whisper fine-tuned on the train split by the recipe, after a first stage on general speech where the "
            "recipe has one. Snapshot and recipe are pinned at the version's first training. The best checkpoint by "
            "validation WER is kept. A killed training resumes and ends with the same weights. Also runs without "
            "Dagster: python -m habla_ml.training."
        ),
    )
    def fine_tuned_checkpoint(
        context: dg.AssetExecutionContext,
        config: TrainingRunConfig,
        lake: StoreResource,
    ) -> dg.MaterializeResult:
        from habla_ml.corpus.snapshot import load_latest_snapshot
        from habla_ml.training.plan import plan_version
        from habla_ml.training.record import read_training_record
        from habla_ml.training.start import choose_start

        opened, version = lake.lake(), context.partition_key
        plan = plan_version(
            opened, version, load_latest_snapshot(opened), settings.training, partial(choose_start, settings)
        )
        context.log.info(f"{version}: snapshot {plan.snapshot[:12]}, {plan.corpus_hours:.2f} h of corpus")
        words = [*_list_options(opened, plan, settings), *(["--again"] if config.train_again else [])]
        run = _train(settings, words, context)
        # A child that exits 0 without a report must not count as trained.
        trained = run.get_materialize_result(implicit_materialization=False)
        record = read_training_record(opened, version)
        if record is None:
            raise TrainingError(f"the training process ended well, but {version} has no checkpoint in {opened.url}")
        reported = {**name_lineage(settings, version), **(trained.metadata or {})}
        return dg.MaterializeResult(
            data_version=trained.data_version, metadata=build_training_metadata(plan, record, reported)
        )

    return fine_tuned_checkpoint


def _train(
    settings: Settings, words: list[str], context: dg.AssetExecutionContext
) -> dg.PipesClientCompletedInvocation:
    """Train where the settings say, with the options `words` of the training program."""
    from habla_ml.training.launch.command import build_command

    if settings.training.launch.where != "ray":
        return run_training_process(build_command(settings, words), context)
    from habla_ml.defs.models.ray_jobs import run_training_job

    return run_training_job(settings, words, context, partial(_observe_progress, context))


def run_training_process(command: list[str], context: dg.AssetExecutionContext) -> dg.PipesClientCompletedInvocation:
    """Run the training process, and record its progress as observations of the asset.

    Raises:
        TrainingInterruptedError: Its environment ended it, or a request to end such as SIGTERM.
        TrainingKilledError: It was killed.
    """
    from habla_ml.training.exit_codes import EXIT_ENVIRONMENT, EXIT_KILLED
    from habla_ml.training.termination import NOTICE_S

    reader = WholeLineMessageReader(partial(_observe_progress, context))
    try:
        client = dg.PipesSubprocessClient(message_reader=reader, termination_timeout_seconds=NOTICE_S + 10)
        return client.run(command=command, context=context)
    except Exception as error:  # Dagster does not export the class.
        if str(error).endswith(f" failed with code {EXIT_ENVIRONMENT}"):
            raise TrainingInterruptedError(
                "the training process ended for a fault of its environment or by SIGTERM, as its output says; the next run "
                "resumes at the last checkpoint"
            ) from error
        if str(error).endswith((f" failed with code {-signal.SIGKILL}", f" failed with code {EXIT_KILLED}")):
            raise TrainingKilledError(
                "the training process was killed, probably because the machine has too little memory; free memory or lower the "
                "batch size in the recipe of the next version. The next run resumes at the last checkpoint"
            ) from error
        raise


def _observe_progress(context: dg.AssetExecutionContext, figures: dict[str, int | float]) -> None:
    """Record an observation now; `log_event` would keep it until the process ends."""
    partition = context.partition_key if context.has_partition_key else None
    shown = build_progress_metadata(figures, datetime.now(UTC))
    observation = dg.AssetObservation(context.asset_key, partition=partition, metadata=shown)
    dg.DagsterEvent.asset_observation(context.get_step_execution_context(), observation)


def _list_options(lake: "Lake", plan: "VersionPlan", settings: Settings) -> list[str]:
    from habla_ml.training.plan import write_recipe_file

    options = {
        "--settings": save_settings(settings, settings.work_folder / "settings"),
        "--snapshot": plan.snapshot,
        "--recipe": write_recipe_file(lake, plan, settings.work_folder),
        "--version": plan.version,
        "--out": settings.work_folder / "training" / plan.version,
    }
    return [str(word) for option in options.items() for word in option]
