"""The sensors of annotation sources: one for each sensor name in `SOURCES`.

A tick requests the days with outdated text. The lake shows which days those are, so that a lost request is repeated.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources import SOURCES
from habla_ml.defs.corpus.day_requests import request_days
from habla_ml.defs.jobs import CORRECT
from habla_ml.defs.resources import StoreResource
from habla_ml.errors import IsolatedError, isolate
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.recordings.change_detection import ChangedDay


def build_annotation_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Return one sensor for each sensor name of the sources."""
    return [_build_sensor(name, settings) for name in dict.fromkeys(each.sensor for each in SOURCES)]


def _build_sensor(name: str, settings: Settings) -> dg.SensorDefinition:
    sources = [each for each in SOURCES if each.sensor == name]
    names = " and ".join(each.name for each in sources)

    @dg.sensor(
        name=name,
        job_name=CORRECT,
        minimum_interval_seconds=settings.automation.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Requests the text of days with new annotations from {names}.",
    )
    def find_days_to_build(context: dg.SensorEvaluationContext, lake: StoreResource) -> dg.SensorResult:
        from habla_ml.corpus.build import find_outdated_days

        messages: list[str] = []

        def find_days(errors: list[IsolatedError]) -> "Iterator[ChangedDay]":
            opened, changes = lake.lake(), []
            for each in sources:
                with isolate(each.name, errors):
                    found = each.find_changes(SourceContext(opened, settings, datetime.now(UTC)))
                    changes.append(found)
                    errors.extend(found.errors)
                    messages.extend([found.message] * bool(found.message))
            yield from find_outdated_days(opened, changes, errors)

        return request_days(context, CORRECT, find_days, settings, messages)

    return find_days_to_build
