"""When the pipeline acts by itself: new recordings, a grown corpus, the quarter.

Every tick costs what changed, not what exists, and derives its decision from the lake and the run history. There
is no cursor to lose: a failed run is tried again under a new key, at most `MOST_ATTEMPTS` times.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.defs.attempts import MOST_ATTEMPTS, count_attempts, is_running
from habla_ml.defs.jobs import INGEST, RETRAIN, REVIEW, WATCH
from habla_ml.defs.partitions import MODEL_VERSIONS, model_versions, next_version
from habla_ml.defs.resources import StoreResource
from habla_ml.lake import catalogue
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.lake import Lake
    from habla_ml.recordings.change_detection import ChangedDay

DAY_TAG, INPUTS_TAG, VERSION_TAG = "habla_ml/day", "habla_ml/inputs", "habla_ml/version"


def build_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors of recordings and corpus growth; they run as soon as the daemon does."""

    @dg.sensor(
        job_name=INGEST,
        minimum_interval_seconds=settings.automation.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Days with a finished session that the lake has not seen in this state.",
    )
    def new_recordings(context: dg.SensorEvaluationContext, lake: StoreResource) -> dg.SensorResult:
        from habla_ml.recordings.change_detection import find_changed_days

        days = find_changed_days(settings.recordings.folder, lake.lake(), settings, datetime.now(UTC))
        return request_days(context.instance, INGEST, days)

    @dg.sensor(
        job_name=RETRAIN,
        minimum_interval_seconds=settings.automation.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Asks for the next model version when the corpus grew by {settings.automation.growth_hours:g} hours "
            "since the last good training."
        ),
    )
    def corpus_growth(context: dg.SensorEvaluationContext, lake: StoreResource) -> dg.SensorResult:
        from habla_ml.corpus.growth import corpus_hours

        opened = lake.lake()
        hours = corpus_hours(opened)
        grown = hours - _load_last_trained_hours(opened)
        bound = settings.automation.growth_hours
        if grown < bound:
            return dg.SensorResult(skip_reason=f"the corpus grew by {grown:.2f} h of {bound:g} h")
        return _request_training(context.instance, opened, f"{hours:.4f} h")

    return [new_recordings, corpus_growth]


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """The quarter (`automation.quarterly_cron` makes it weekly or bi-weekly), the week's review queue and watch."""

    @dg.schedule(
        job_name=RETRAIN,
        cron_schedule=settings.automation.quarterly_cron,
        execution_timezone=settings.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Retrains on what there is, unless the corpus stands as the last good training left it.",
    )
    def quarterly_retraining(
        context: dg.ScheduleEvaluationContext, lake: StoreResource
    ) -> dg.RunRequest | dg.SkipReason:
        from habla_ml.corpus.growth import corpus_hours

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

    @dg.schedule(
        job_name=REVIEW,
        cron_schedule=settings.review.cron,
        execution_timezone=settings.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Chooses the {settings.review.minutes:g} minutes that a person should look at this week.",
    )
    def weekly_review(context: dg.ScheduleEvaluationContext, lake: StoreResource) -> dg.RunRequest | dg.SkipReason:
        if next(catalogue.RECORDINGS.keys(lake.lake()), None) is None:
            return dg.SkipReason("nothing was recorded yet")
        if is_running(context.instance, REVIEW):
            return dg.SkipReason("a queue is being made")
        return dg.RunRequest(run_key=f"{REVIEW}:{context.scheduled_execution_time:%Y-%m-%dT%H}")

    @dg.schedule(
        job_name=WATCH,
        cron_schedule=settings.monitoring.cron,
        execution_timezone=settings.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Scores the released version on what people corrected last week, and says so where it drifted.",
    )
    def weekly_watch(context: dg.ScheduleEvaluationContext, cdn: StoreResource) -> dg.RunRequest | dg.SkipReason:
        from habla_ml.release.channel import read_channel

        if read_channel(cdn.store(), settings.release.channel).current is None:
            return dg.SkipReason("nothing was released yet")
        if is_running(context.instance, WATCH):
            return dg.SkipReason("the release is being measured")
        return dg.RunRequest(run_key=f"{WATCH}:{context.scheduled_execution_time:%Y-%m-%dT%H}")

    return [quarterly_retraining, weekly_review, weekly_watch]


def request_days(instance: dg.DagsterInstance, job_name: str, days: "Iterable[ChangedDay]") -> dg.SensorResult:
    """One run a changed day, unless it is under way or failed too often in this very state."""
    requests, given_up = [], []
    for each in days:
        work = {DAY_TAG: each.day, INPUTS_TAG: each.fingerprint[:32]}
        attempts = count_attempts(instance, job_name, work)
        if attempts.can_start:
            key = f"{job_name}:{each.day}:{each.fingerprint[:32]}:{attempts.failed}"
            requests.append(dg.RunRequest(run_key=key, partition_key=each.day, tags=work))
        elif not attempts.running:
            given_up.append(each.day)
    if requests:
        return dg.SensorResult(run_requests=requests)
    if given_up:
        return dg.SensorResult(
            skip_reason=f"failed {MOST_ATTEMPTS} times, launch by hand after mending: {', '.join(given_up)}"
        )
    return dg.SensorResult(skip_reason="nothing new")


def _load_last_trained_hours(lake: "Lake") -> float:
    from habla_ml.training.plan import list_evaluated_trainings

    trained = list_evaluated_trainings(lake)
    return trained[-1].corpus_hours if trained else 0.0


def _request_training(instance: dg.DagsterInstance, lake: "Lake", occasion: str) -> dg.SensorResult:
    """Ask for the next version; one that was added before and never got its checkpoint is taken up again."""
    from habla_ml.model_version import version_number
    from habla_ml.training.plan import list_evaluated_trainings

    if is_running(instance, RETRAIN):
        return dg.SensorResult(skip_reason="a training is queued or under way")
    existing = instance.get_dynamic_partitions(MODEL_VERSIONS)
    trained = {plan.version for plan in list_evaluated_trainings(lake)}
    newest = max((version_number(name) for name in trained), default=0)
    untrained = [name for name in existing if version_number(name) > newest]
    version = min(untrained, key=version_number) if untrained else next_version([*existing, *trained])
    attempts = count_attempts(instance, RETRAIN, {VERSION_TAG: version})
    if attempts.failed >= MOST_ATTEMPTS:
        return dg.SensorResult(
            skip_reason=f"{version} failed {attempts.failed} times; launch {RETRAIN} for it by hand after mending"
        )
    key = f"{version}:{occasion}:{attempts.failed}"
    request = dg.RunRequest(run_key=key, partition_key=version, tags={VERSION_TAG: version})
    additions = [] if version in existing else [model_versions.build_add_request([version])]
    return dg.SensorResult(run_requests=[request], dynamic_partitions_requests=additions)
