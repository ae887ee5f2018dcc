"""Corrections made in Label Studio come in by themselves.

A tick pulls what changed and asks for the text of the days that are behind. Which days those are is derived from the
lake, not from the pull: a request that was lost is made again.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from habla_ml.defs.automation import request_days
from habla_ml.defs.jobs import CORRECT
from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.lake import Lake
    from habla_ml.recordings import ChangedDay


def build_label_studio_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor; without a server it only says so."""

    @dg.sensor(
        job_name=CORRECT,
        minimum_interval_seconds=settings.automation.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Pulls what people submitted in Label Studio and asks for the text of their days.",
    )
    def label_studio_corrections(context: dg.SensorEvaluationContext, lake: StoreResource) -> dg.SensorResult:
        from habla_ml.errors import ServiceError

        opened = lake.lake()
        try:
            news = _pull_corrections(opened, settings)
        except ServiceError as error:
            news = str(error)
        context.log.info(news)
        result = request_days(context.instance, CORRECT, _find_outdated_days(opened))
        return result if result.run_requests else dg.SensorResult(skip_reason=news)

    return label_studio_corrections


def _pull_corrections(lake: "Lake", settings: Settings) -> str:
    """What became of the pull, in a line."""
    from habla_ml.annotation.label_studio import connect, find_project, has_server, pull_events

    chosen = settings.annotation.label_studio
    if not has_server(settings):
        return "no Label Studio: none was started here and annotation.label_studio.url names none"
    with connect(settings, patience_s=0) as server:
        project = find_project(server, chosen.title)
        if project is None:
            return f"{server.url} has no project {chosen.title!r} yet: nothing was pushed"
        report = pull_events(lake, server, project, chosen, datetime.now(UTC))
    return f"{report.tasks} tasks changed, {report.added} new events, {len(report.skipped_inputs)} set aside"


def _find_outdated_days(lake: "Lake") -> "Iterator[ChangedDay]":
    """Days with events from Label Studio whose text was written from other events or recordings."""
    from habla_ml.annotation import load_events
    from habla_ml.annotation.label_studio import LABEL_STUDIO, list_pulled_days
    from habla_ml.corpus.build import load_corpus_day
    from habla_ml.lake import compute_digest
    from habla_ml.recordings import ChangedDay, load_day

    for day in list_pulled_days(lake):
        recordings, events, text = load_day(lake, day), load_events(lake, day), load_corpus_day(lake, day)
        if recordings is None or events is None:
            continue
        if text is None or (text.annotations, text.facts) != (events.parquet, recordings.facts):
            yield ChangedDay(day, compute_digest([LABEL_STUDIO, recordings.facts, events.parquet]))
