"""What starts a training: a grown corpus and the quarterly schedule.

The hours at the last good training are read from the lake, because a run key is used only once and no cursor may be
lost. A requested training that failed is tried again by the sensor, whatever requested it (`defs.attempts`). One that a
person launched for a version is not.
"""

from datetime import UTC, datetime

import dagster as dg

from habla_ml.defs.attempts import RetryPolicy, RunAttempts, count_attempts, explain_wait, is_running
from habla_ml.defs.jobs import RETRAIN
from habla_ml.defs.models.new_version import PARTITION_TAG, VERSION_TAG, find_next_version, find_requested_version
from habla_ml.defs.partitions import MODEL_VERSIONS, model_versions
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.schedules import schedule_job
from habla_ml.errors import IsolatedError, isolate
from habla_ml.model_version import version_number
from habla_ml.settings import Settings

_RUNS_EXAMINED = 20


def build_growth_sensor(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor that requests a training after `automation.growth_hours` of new corpus."""
    bound = settings.automation.growth_hours

    @dg.sensor(
        job_name=RETRAIN,
        minimum_interval_seconds=settings.automation.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Requests the next model version when the corpus grew by {bound:g} hours since the last good training, when "
            "a person launched `new_version`, or when a training failed. To wait no longer, launch `new_version`."
        ),
    )
    def corpus_growth(context: dg.SensorEvaluationContext, lake: StoreResource) -> dg.SensorResult:
        from habla_ml.training.growth import measure_growth

        if (unfinished := _find_failed_version(context.instance, settings)) is not None:
            waits = _explain_bundle(lake, unfinished, settings)
            return waits or _request_version(context.instance, unfinished, settings, "retry", [])
        if (requested := find_requested_version(context.instance)) is not None:
            return _request_version(context.instance, requested, settings, "requested", [])
        errors: list[IsolatedError] = []
        with isolate("corpus", errors):
            growth = measure_growth(lake.lake())
        if errors:
            return dg.SensorResult(skip_reason=f"the corpus cannot be read: {errors[0].message}")
        if growth.hours < bound:
            left = growth.find_hours_left(bound)
            return dg.SensorResult(
                skip_reason=f"the corpus grew by {growth.hours:.2f} h of {bound:g} h; correct {left:.2f} h more of speech"
            )
        return _request_training(context.instance, lake, settings, f"{growth.corpus_hours:.4f} h")

    return corpus_growth


def build_quarterly_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule `automation.quarterly_cron`: quarterly, weekly, or every `retrain_every_weeks` weeks."""

    @schedule_job(
        RETRAIN,
        settings.automation.quarterly_cron,
        settings,
        "Trains the next model version, unless the corpus is unchanged since the last good training.",
    )
    def quarterly_retraining(
        context: dg.ScheduleEvaluationContext, lake: StoreResource
    ) -> dg.RunRequest | dg.SkipReason:
        from habla_ml.training.growth import measure_growth

        today = context.scheduled_execution_time.astimezone(settings.zone).date()
        if (training_day := settings.automation.find_training_day(today)) != today:
            weeks = settings.automation.retrain_every_weeks
            return dg.SkipReason(f"trains every {weeks} weeks; the next time is {training_day}")
        growth = measure_growth(lake.lake())
        if growth.corpus_hours == 0:
            return dg.SkipReason("the corpus is empty")
        if round(growth.hours, 4) == 0:
            return dg.SkipReason(f"the corpus still has the {growth.corpus_hours:.2f} h of the last good training")
        result = _request_training(context.instance, lake, settings, f"{context.scheduled_execution_time:%Y-%m-%d}")
        if not result.run_requests:
            return result.skip_reason or dg.SkipReason("no training was requested")
        for request in result.dynamic_partitions_requests or ():
            context.instance.add_dynamic_partitions(MODEL_VERSIONS, list(request.partition_keys))
        return result.run_requests[0]

    return quarterly_retraining


def _find_failed_version(instance: dg.DagsterInstance, settings: Settings) -> str | None:
    """Return the newest version if its last training failed and is tried again; None if it succeeded or is given up.

    A run of an older version, such as one that a person releases again, does not end this. A version that was deleted from
    the partitions does not count.
    """
    records = instance.get_run_records(dg.RunsFilter(job_name=RETRAIN), limit=_RUNS_EXAMINED)
    versions = set(instance.get_dynamic_partitions(MODEL_VERSIONS))
    runs = [run for each in records if _find_version(run := each.dagster_run) in versions]
    last = max(runs, key=lambda run: version_number(_find_version(run)), default=None)  # of equal ones the newest
    if last is None or last.status != dg.DagsterRunStatus.FAILURE:
        return None
    version = last.tags.get(VERSION_TAG)
    if version is None or _count_trainings(instance, version, settings).given_up:
        return None
    return version


def _find_version(run: dg.DagsterRun) -> str:
    return run.tags.get(PARTITION_TAG, run.tags.get(VERSION_TAG, ""))


def _explain_bundle(lake: StoreResource, version: str, settings: Settings) -> dg.SensorResult | None:
    """Return that a version is trained elsewhere, if so: a training here would make its result useless."""
    from habla_ml.training.bundle.awaited import find_awaited_bundle

    made_at = find_awaited_bundle(lake.lake(), version, datetime.now(UTC))
    if made_at is None:
        return None
    return dg.SensorResult(
        skip_reason=f"the bundle of {version} was made on {settings.format_day(made_at)}, and its result is awaited; import "
        f"it, or launch {RETRAIN} for {version} to train it here"
    )


def _request_training(
    instance: dg.DagsterInstance, lake: StoreResource, settings: Settings, occasion: str
) -> dg.SensorResult:
    """Request the next version; a version that was added but never evaluated is requested again."""
    version, existing = find_next_version(instance, lake.lake()), instance.get_dynamic_partitions(MODEL_VERSIONS)
    if (waits := _explain_bundle(lake, version, settings)) is not None:
        return waits
    additions = [] if version in existing else [model_versions.build_add_request([version])]
    return _request_version(instance, version, settings, occasion, additions)


def _request_version(
    instance: dg.DagsterInstance,
    version: str,
    settings: Settings,
    occasion: str,
    additions: "list[dg.AddDynamicPartitionsRequest]",
) -> dg.SensorResult:
    if is_running(instance, RETRAIN):
        return dg.SensorResult(skip_reason="a training is queued or running")
    attempts = _count_trainings(instance, version, settings)
    if attempts.running:
        return dg.SensorResult(skip_reason=f"the training of {version} lost its process and is launched again")
    if not attempts.can_start(datetime.now(UTC)):
        return dg.SensorResult(skip_reason=f"{version} {explain_wait(attempts, RETRAIN, settings)}")
    key = attempts.make_key(f"{version}:{occasion}")
    request = dg.RunRequest(run_key=key, partition_key=version, tags={VERSION_TAG: version})
    return dg.SensorResult(run_requests=[request], dynamic_partitions_requests=additions)


def _count_trainings(instance: dg.DagsterInstance, version: str, settings: Settings) -> RunAttempts:
    policy = RetryPolicy.for_trainings(settings.automation)
    return count_attempts(instance, RETRAIN, {VERSION_TAG: version}, policy)
