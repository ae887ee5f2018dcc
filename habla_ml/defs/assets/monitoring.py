"""`released_model_quality`: is the released version still as good, and does its audience still sound the same."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.defs.monitoring import build_monitoring_metadata
from habla_ml.defs.owners import MODEL_OWNERS
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.lake import Lake
    from habla_ml.monitoring.record import MonitoredRelease


def build_released_model_quality(settings: Settings) -> dg.AssetsDefinition:
    """The asset; one for the version on the channel."""

    @dg.asset(
        deps=["cdn_release", "annotated_corpus", "raw_recordings", "review_queue"],
        group_name="models",
        owners=MODEL_OWNERS,
        kinds={"fasterwhisper", "jiwer"},
        code_version="1",
        description=(
            "The version on the release channel, week by week since its release: its word error rate on what people "
            "corrected and it never heard in training, with 95 % intervals, against its level at the release; and "
            "whether loudness, noise, speakers and words are still those of before. A sequential rule raises at most "
            f"one false alarm in {settings.monitoring.weeks_between_false_alarms:g} weeks on average. Segments that "
            "the review queue chose for being difficult are shown beside and not judged."
        ),
    )
    def released_model_quality(
        context: dg.AssetExecutionContext, lake: StoreResource, cdn: StoreResource
    ) -> dg.MaterializeResult:
        from habla_ml.monitoring.released_model import watch_release

        opened, log = lake.lake(), context.log.info
        watched = watch_release(opened, cdn.store(), settings, datetime.now(UTC), log)
        if watched is None:
            return dg.MaterializeResult(metadata={"release": "none yet"})
        return dg.MaterializeResult(
            data_version=dg.DataVersion(watched.object_id),
            metadata={
                **build_monitoring_metadata(watched.record),
                "clips decoded now": watched.decoded,
                "told": _send_alerts(opened, watched.record, settings, context.log.warning),
                "object": watched.object_id,
            },
        )

    return released_model_quality


def _send_alerts(lake: "Lake", record: "MonitoredRelease", settings: Settings, warn: Callable[[str], None]) -> str:
    """Whom the alarms were sent to now; a server that is down does not undo the record."""
    from habla_ml.errors import ServiceError
    from habla_ml.monitoring.alarms import build_alerts
    from habla_ml.monitoring.alerts import send_once

    told = []
    for alert in build_alerts(record):
        try:
            told += [f"{alert.key} by {way}" for way in send_once(alert, lake, settings.monitoring.alerts)]
        except ServiceError as error:
            warn(str(error))
            told.append(str(error))
    return "; ".join(told) or "nothing new"
