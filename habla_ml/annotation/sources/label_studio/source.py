"""Label Studio as a source of annotation events: a remote server whose new events each tick of the sensor appends.

The modules that speak HTTP are imported inside functions, so that the registry of sources loads quickly.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from habla_ml.annotation.source import AnnotationSource, ForgetReport, SourceChanges, SourceContext, SourceDay
from habla_ml.errors import IsolatedError, ServiceError, isolate


def find_changes(context: SourceContext) -> SourceChanges:
    """Append the new events of the server to the log, and return all days that have events from Label Studio.

    A server that cannot be reached is an error of its own; its earlier days are returned all the same.
    """
    from habla_ml.annotation.sources.label_studio.pull import LABEL_STUDIO, list_pulled_days

    message = ""
    errors: list[IsolatedError] = []
    with isolate(LABEL_STUDIO, errors):
        message = _pull_new_events(context, errors)
    days = list_pulled_days(context.lake, errors)
    return SourceChanges(tuple(map(SourceDay, days)), message, tuple(errors))


def collect(_context: SourceContext, _day: str) -> None:
    """Do nothing: `find_changes` has appended the events already."""


def forget(context: SourceContext, segment_ids: Collection[str]) -> ForgetReport:
    """Delete the tasks of these segments with their annotations, and the audio that the server plays for them."""
    from habla_ml.annotation.sources.label_studio.configured_server import connect, delete_tasks, has_server

    if not has_server(context.settings):
        return ForgetReport()
    try:
        with connect(context.settings) as server:
            deleted = delete_tasks(context.settings, server, segment_ids)
    except ServiceError as error:
        return ForgetReport(left_to_person=(f"erase again when Label Studio answers: {error}",))
    return ForgetReport(f"{deleted} tasks of Label Studio")


def _pull_new_events(context: SourceContext, errors: list[IsolatedError]) -> str:
    """Return a summary of the pull in one line; add the days whose log cannot be written to `errors`."""
    from habla_ml.annotation.sources.label_studio.configured_server import connect, has_server
    from habla_ml.annotation.sources.label_studio.project import find_project
    from habla_ml.annotation.sources.label_studio.pull import pull_events

    settings = context.settings
    chosen = settings.annotation.label_studio
    if not has_server(settings):
        up = settings.command("label-studio", "up")
        return f"no Label Studio server: run `{up}`, or set annotation.label_studio.url"
    with connect(settings, patience_s=0) as server:
        project = find_project(server, chosen.title)
        if project is None:
            return f"{server.url} has no project {chosen.title!r} yet: nothing was pushed"
        report = pull_events(context.lake, server, project, chosen, context.now)
    errors.extend(report.errors)
    return f"{report.tasks} tasks changed, {report.added} new events, {len(report.skipped_inputs)} skipped"


SOURCE: Final = AnnotationSource(
    "label_studio", "label_studio_corrections", find_changes, collect, forget, is_server=True
)
