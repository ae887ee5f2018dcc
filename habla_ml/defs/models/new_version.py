"""`new_version`: a person adds the next model version from the launchpad, and may have it trained at once.

The job only adds the version and tags its own run. The sensor `corpus_growth` starts the training, because it knows
whether one is running and repeats one that failed.
"""

from typing import TYPE_CHECKING, Final

import dagster as dg
from pydantic import Field

from habla_ml.defs.jobs import NEW_VERSION, RETRAIN
from habla_ml.defs.partitions import MODEL_VERSIONS, next_version
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.run_faults import record_fault

if TYPE_CHECKING:
    from habla_ml.lake import Lake

VERSION_TAG: Final = "habla_ml/version"
_START_TAG: Final = "habla_ml/start_training"
PARTITION_TAG: Final = "dagster/partition"
_LONGEST_S: Final = 1800


class NewVersionConfig(dg.Config):
    """What a person decides."""

    start_training: bool = Field(
        default=True,
        description=(
            "Train, measure and release the version as soon as no other training runs. With false the version is only "
            "added to the list of partitions; launch train_and_release for it later."
        ),
    )


def build_new_version_job() -> dg.JobDefinition:
    """Return the job."""

    @dg.op
    def add_version(context: dg.OpExecutionContext, config: NewVersionConfig, lake: StoreResource) -> dg.Output[None]:
        """Add the next model version to the partitions; a version that was never trained is taken again."""
        version = find_next_version(context.instance, lake.lake())
        context.instance.add_dynamic_partitions(MODEL_VERSIONS, [version])
        context.instance.add_run_tags(
            context.run.run_id, {VERSION_TAG: version, _START_TAG: "yes" if config.start_training else "no"}
        )
        step = "the sensor corpus_growth starts its training" if config.start_training else f"launch {RETRAIN} for it"
        context.log.info(f"{version} is in the list of versions; {step}")
        return dg.Output(None, metadata={"version": version, "next": step})

    @dg.job(
        name=NEW_VERSION,
        description=(
            "Adds the next model version, which then is in the partition picker, and has it trained. Launch it when you "
            "do not want to wait until the corpus has grown enough. The launchpad has the choice."
        ),
        tags={"dagster/max_runtime": str(_LONGEST_S)},
        hooks={record_fault},
    )
    def new_version() -> None:
        add_version()

    return new_version


def find_next_version(instance: dg.DagsterInstance, lake: "Lake") -> str:
    """Return the next version; one that was added but never evaluated comes first."""
    from habla_ml.model_version import version_number
    from habla_ml.training.plan import list_evaluated_trainings

    existing = instance.get_dynamic_partitions(MODEL_VERSIONS)
    trained = {plan.version for plan in list_evaluated_trainings(lake)}
    newest = max((version_number(name) for name in trained), default=0)
    untrained = [name for name in existing if version_number(name) > newest]
    return min(untrained, key=version_number) if untrained else next_version([*existing, *trained])


def find_requested_version(instance: dg.DagsterInstance) -> str | None:
    """Return the version that a person had added for a training which has not started; None without one.

    A version that was deleted from the partitions since is not requested: Dagster would refuse the run at each tick.
    """
    requested = dg.RunsFilter(job_name=NEW_VERSION, tags={_START_TAG: "yes"}, statuses=[dg.DagsterRunStatus.SUCCESS])
    newest = instance.get_run_records(requested, limit=1)
    if not newest:
        return None
    version = newest[0].dagster_run.tags[VERSION_TAG]
    if not instance.has_dynamic_partition(MODEL_VERSIONS, version):
        return None
    started = dg.RunsFilter(job_name=RETRAIN, tags={PARTITION_TAG: version}, created_after=newest[0].create_timestamp)
    return None if instance.get_run_ids(started, limit=1) else version
