"""`released_model_quality`: is the released version still as good, and does its audience still sound the same."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.defs.monitoring import present_watched
from habla_ml.defs.owners import MODEL_OWNERS
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.lake import Lake
    from habla_ml.monitoring.record import WatchedRelease


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
        from habla_ml.monitoring.released import watch_release

        opened, tell = lake.lake(), context.log.info
        watched = watch_release(opened, cdn.store(), settings, datetime.now(UTC), tell)
        if watched is None:
            return dg.MaterializeResult(metadata={"release": "none yet"})
        return dg.MaterializeResult(
            data_version=dg.DataVersion(watched.object_id),
            metadata={
                **present_watched(watched.record),
                "clips decoded now": watched.decoded,
                "told": _told(opened, watched.record, settings, context.log.warning),
                "object": watched.object_id,
            },
        )

    return released_model_quality


def _told(lake: "Lake", record: "WatchedRelease", settings: Settings, warn: Callable[[str], None]) -> str:
    """Whom the alarms were sent to now; a server that is down does not undo the record."""
    from habla_ml.errors import ServiceError
    from habla_ml.monitoring.alarms import alerts_of
    from habla_ml.monitoring.alerts import send_once

    told = []
    for alert in alerts_of(record):
        try:
            told += [f"{alert.key} by {way}" for way in send_once(alert, lake, settings.monitoring.alerts)]
        except ServiceError as error:
            warn(str(error))
            told.append(str(error))
    return "; ".join(told) or "nothing new"
