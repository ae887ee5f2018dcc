"""What starts a training: a grown corpus and the quarterly schedule.

The hours at the last good training are read from the lake, because a run key is used only once and no cursor may be
lost.
"""

from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.defs.attempts import MOST_ATTEMPTS, count_attempts, is_running
from habla_ml.defs.jobs import RETRAIN
from habla_ml.defs.partitions import MODEL_VERSIONS, model_versions, next_version
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.lake import Lake

VERSION_TAG = "habla_ml/version"


def build_growth_sensor(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor that requests a training after `automation.growth_hours` of new corpus."""
    bound = settings.automation.growth_hours

    @dg.sensor(
        job_name=RETRAIN,
        minimum_interval_seconds=settings.automation.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Requests the next model version when the corpus grew by {bound:g} hours since the last good training."
        ),
    )
    def corpus_growth(context: dg.SensorEvaluationContext, lake: StoreResource) -> dg.SensorResult:
        from habla_ml.corpus.build import corpus_hours

        opened = lake.lake()
        hours = corpus_hours(opened)
        growth = hours - _load_last_trained_hours(opened)
        if growth < bound:
            return dg.SensorResult(skip_reason=f"the corpus grew by {growth:.2f} h of {bound:g} h")
        return _request_training(context.instance, opened, f"{hours:.4f} h")

    return corpus_growth


def build_quarterly_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule `automation.quarterly_cron`, which can also be weekly or fortnightly."""

    @dg.schedule(
        job_name=RETRAIN,
        cron_schedule=settings.automation.quarterly_cron,
        execution_timezone=settings.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Trains the next model version, unless the corpus is unchanged since the last good training.",
    )
    def quarterly_retraining(
        context: dg.ScheduleEvaluationContext, lake: StoreResource
    ) -> dg.RunRequest | dg.SkipReason:
        from habla_ml.corpus.build import corpus_hours

        opened = lake.lake()
        hours = corpus_hours(opened)
        if hours == 0:
            return dg.SkipReason("the corpus is empty")
        if round(hours, 4) == round(_load_last_trained_hours(opened), 4):
            return dg.SkipReason(f"the corpus still has the {hours:.2f} h of the last good training")
        result = _request_training(context.instance, opened, f"{context.scheduled_execution_time:%Y-%m-%d}")
        if not result.run_requests:
            return result.skip_reason or dg.SkipReason("no training was requested")
        for request in result.dynamic_partitions_requests or ():
            context.instance.add_dynamic_partitions(MODEL_VERSIONS, list(request.partition_keys))
        return result.run_requests[0]

    return quarterly_retraining


def _load_last_trained_hours(lake: "Lake") -> float:
    from habla_ml.training.plan import list_evaluated_trainings

    trained = list_evaluated_trainings(lake)
    return trained[-1].corpus_hours if trained else 0.0


def _request_training(instance: dg.DagsterInstance, lake: "Lake", occasion: str) -> dg.SensorResult:
    """Request the next version; a version that was added but never evaluated is requested again."""
    from habla_ml.model_version import version_number
    from habla_ml.training.plan import list_evaluated_trainings

    if is_running(instance, RETRAIN):
        return dg.SensorResult(skip_reason="a training is queued or running")
    existing = instance.get_dynamic_partitions(MODEL_VERSIONS)
    trained = {plan.version for plan in list_evaluated_trainings(lake)}
    newest = max((version_number(name) for name in trained), default=0)
    untrained = [name for name in existing if version_number(name) > newest]
    version = min(untrained, key=version_number) if untrained else next_version([*existing, *trained])
    attempts = count_attempts(instance, RETRAIN, {VERSION_TAG: version})
    if attempts.running:
        return dg.SensorResult(skip_reason=f"the training of {version} lost its process and is launched again")
    if attempts.failed >= MOST_ATTEMPTS:
        return dg.SensorResult(
            skip_reason=f"{version} failed {attempts.failed} times; fix the cause, then launch {RETRAIN} for it"
        )
    key = f"{version}:{occasion}:{attempts.failed}"
    request = dg.RunRequest(run_key=key, partition_key=version, tags={VERSION_TAG: version})
    additions = [] if version in existing else [model_versions.build_add_request([version])]
    return dg.SensorResult(run_requests=[request], dynamic_partitions_requests=additions)
