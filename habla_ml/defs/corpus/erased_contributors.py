"""`erased_contributors`: the erasure of those who withdrew their consent in the service, and its sensor.

A withdrawal in the register's file is erased by `habla-ml erase`, after a confirmation. In the service, the person has
confirmed. Pseudonyms stay out of metadata and tags.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from habla_ml.defs.attempts import RetryPolicy, count_attempts, explain_wait
from habla_ml.defs.code_versions import get_code_version
from habla_ml.defs.corpus.partition_requests import INPUTS_TAG
from habla_ml.defs.corpus.uploaded_clips import UPLOADS_POOL
from habla_ml.defs.jobs import ERASE
from habla_ml.defs.partitions import DATA_OWNERS
from habla_ml.defs.presentation import bullet_list, link_service_page
from habla_ml.defs.resources import StoreResource
from habla_ml.defs.result_metadata import build_result_metadata
from habla_ml.lake import compute_digest
from habla_ml.settings import Settings


def build_erased_contributors(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset; each materialisation erases all who are waiting for it."""

    @dg.asset(
        group_name="operations",
        owners=DATA_OWNERS,
        kinds={"json"},
        code_version=get_code_version("erased_contributors"),
        pool=UPLOADS_POOL,
        description=(
            "Erases the contributors who withdrew their consent in the service: received clips, texts, segments and "
            "everything made of them, also in datasets on the Hub. It fails while the Hub can still have a voice. No "
            "checkpoint is deleted, because a voice cannot be removed from a model; the metadata list the versions that "
            "used the voices."
        ),
    )
    def erased_contributors(context: dg.AssetExecutionContext, lake: StoreResource) -> dg.MaterializeResult:
        from habla_ml.erasure.erase import erase_withdrawn

        count, report = erase_withdrawn(lake.lake(), settings, datetime.now(UTC), context.log.info)
        if report is None:
            return dg.MaterializeResult(
                metadata=build_result_metadata(
                    "nobody waited for an erasure", {"contributors": 0}, "nothing", details={"contributors": 0}
                )
            )
        left = len(report.left_to_person)
        return dg.MaterializeResult(
            metadata=build_result_metadata(
                "the erasure of contributors who withdrew their consent in the service",
                {
                    "contributors": count,
                    "segments": report.segments,
                    "minutes": report.hours * 60,
                    "versions trained on the voices": len(report.trained_versions),
                    "left to a person": left,
                },
                _find_next_step(left, report.trained_versions),
                page=link_service_page(settings, "/consents"),
                details={
                    "contributors": count,
                    "segments": report.segments,
                    "minutes": report.hours * 60,
                    "received clips": report.received_clips,
                    "objects": report.objects,
                    "datasets on the Hub": bullet_list(report.hub_datasets or ["none"]),
                    "versions trained": bullet_list(report.trained_versions or ["none"]),
                    "versions tested": bullet_list(report.evaluated_versions or ["none"]),
                    "left to a person": left,
                },
            )
        )

    return erased_contributors


def _find_next_step(left_to_person: int, trained_versions: Sequence[str]) -> str:
    steps = []
    if left_to_person:
        steps.append("delete the rest in your tables or in Label Studio by hand, as docs/consent.md says")
    if trained_versions:
        steps.append("decide whether the versions that were trained on the voices stay released")
    return "; ".join(steps) or "nothing"


def build_withdrawals_sensor(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor of withdrawals in the service."""

    @dg.sensor(
        job_name=ERASE,
        minimum_interval_seconds=settings.automation.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Requests the erasure of contributors who withdrew in the service, and of voices that the Hub still has. Costs "
            "one look into an index, and one listing of pointers."
        ),
    )
    def withdrawn_consents(context: dg.SensorEvaluationContext, lake: StoreResource) -> dg.SensorResult:
        from habla_ml.erasure.hub_datasets import list_pending_datasets
        from habla_ml.inbox.consents import digest_awaiting_erasure
        from habla_ml.inbox.database import open_existing_database

        pending = [push.tag for each in list_pending_datasets(lake.lake()) for push in each.withdrawn]
        waiting = ""
        with open_existing_database(settings) as database:
            if database is not None:
                with database.read() as connection:
                    waiting = digest_awaiting_erasure(connection)
            elif not pending:
                return dg.SensorResult(skip_reason="the service of this deployment was never started")
        if pending:
            waiting = compute_digest([waiting, pending])[:32]
        if not waiting:
            return dg.SensorResult(skip_reason="nobody waits for an erasure")
        tags = {INPUTS_TAG: waiting}
        attempts = count_attempts(context.instance, ERASE, tags, RetryPolicy.for_days(settings.automation))
        if attempts.can_start(datetime.now(UTC)):
            key = attempts.make_key(f"{ERASE}:{waiting}")
            return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key, tags=tags)])
        if attempts.running:
            return dg.SensorResult(skip_reason="an erasure is running")
        return dg.SensorResult(skip_reason=f"the erasure {explain_wait(attempts, ERASE, settings)}")

    return withdrawn_consents
