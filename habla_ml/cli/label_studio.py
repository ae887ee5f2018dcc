"""`habla-ml label-studio`: start a server, push the review queue, pull annotations, reconcile deletions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from habla_ml.api import Deployment, open_deployment
from habla_ml.cli.context import print_labelled, print_line, terminal
from habla_ml.cli.profile_option import Profile
from habla_ml.errors import CorpusError, ServiceError

if TYPE_CHECKING:
    from habla_ml.annotation.sources.label_studio.client import LabelStudio
    from habla_ml.annotation.sources.label_studio.project import Project
    from habla_ml.annotation.sources.label_studio.push import PushReport

label_studio_app = typer.Typer(no_args_is_help=True, help="Annotation in Label Studio.")


@label_studio_app.command()
def up(profile: Profile = None) -> None:
    """Start the embedded server (installed at the first call) and serve until Ctrl-C."""
    from habla_ml.annotation.sources.label_studio.server import install_server, resolve_server_config, run_server

    settings = open_deployment(profile).settings
    config = resolve_server_config(settings)
    install_server(config.environment, print_line)
    print_line(f"starting Label Studio; its log is {config.log}")
    with run_server(config) as server:
        # A password is for the screen, not for the log of a program that starts this command.
        password = server.login.password if terminal.is_terminal else f"in {config.folder / 'login.json'}"
        print_line(f"{server.url}\n  user      {server.login.username}\n  password  {password}")
        push_command = settings.command("label-studio", "push")
        print_line(f"next, in another terminal: {push_command} · Ctrl-C stops the server, its data stay")
        try:
            server.process.wait()
        except KeyboardInterrupt:
            return
    raise ServiceError(f"Label Studio stopped unexpectedly; see {config.log}")


@label_studio_app.command()
def push(
    profile: Profile = None,
    most: Annotated[int | None, typer.Option(help="Only the first so many of the queue.")] = None,
) -> None:
    """Create a task for each segment of the newest review queue; existing tasks stay."""
    with _open_connection(profile) as (context, server):
        report = _push_queue(context, server, most)
    print_line(f"{report.added} new tasks, {report.known} existed already: {report.project.page}")
    if report.without_audio:
        print_labelled("skipped", f"{len(report.without_audio)} segments without audio in the lake")


@label_studio_app.command()
def pull(profile: Profile = None) -> None:
    """Append what annotators submitted since the last pull to the log of annotation events."""
    from habla_ml.annotation.sources.label_studio.pull import pull_events

    with _open_connection(profile) as (context, server):
        project, chosen = _find_project(context, server), context.settings.annotation.label_studio
        report = pull_events(context.lake, server, project, chosen, datetime.now(UTC))
    print_line(f"{report.tasks} tasks changed: {report.added} new events, {report.cancelled} skipped by annotators")
    for each in report.skipped_inputs:
        print_labelled("skipped", f"{each.file}: {each.reason}")
    if report.days:
        print_line(f"days with new text (the sensor requests them): {', '.join(report.days)}")


@label_studio_app.command("reconcile")
def reconcile_command(profile: Profile = None) -> None:
    """Compare all tasks on the server with the queue: push deleted tasks again, delete duplicates."""
    from habla_ml.annotation.review_queue import load_queue
    from habla_ml.annotation.sources.label_studio.reconcile import reconcile

    with _open_connection(profile) as (context, server):
        found = reconcile(context.lake, server, _find_project(context, server))
        pushed = _push_queue(context, server).added if found.without_task and load_queue(context.lake) else 0
    print_line(f"{found.tasks} tasks; {found.duplicates_deleted} duplicates deleted")
    print_line(f"{len(found.without_task)} were deleted on the server, {pushed} tasks of the queue were created again")
    print_line(f"{len(found.without_annotation)} segments lost their annotation there; the events stay in the log")


@contextmanager
def _open_connection(profile: str | None) -> Iterator[tuple[Deployment, LabelStudio]]:
    from habla_ml.annotation.sources.label_studio.configured_server import connect

    context = open_deployment(profile)
    with connect(context.settings) as server:
        yield context, server


def _find_project(context: Deployment, server: LabelStudio) -> Project:
    from habla_ml.annotation.sources.label_studio.project import find_project

    title = context.settings.annotation.label_studio.title
    project = find_project(server, title)
    if project is None:
        raise ServiceError(
            f"{server.url} has no project {title!r}; run `{context.settings.command('label-studio', 'push')}` first"
        )
    return project


def _push_queue(context: Deployment, server: LabelStudio, most: int | None = None) -> PushReport:
    from habla_ml.annotation.review_queue import load_queue
    from habla_ml.annotation.sources.label_studio.configured_server import push_queue

    queue = load_queue(context.lake)
    if queue is None:
        raise CorpusError(f"{context.lake.url} has no review queue yet; materialise `review_queue` first")
    return push_queue(context.settings, context.lake, server, queue.items[:most], print_line)
