"""`habla-ml label-studio`: start a server, push the review queue, pull what people said, reconcile deletions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from habla_ml.errors import CorpusError, ServiceError
from habla_ml.settings import Settings, load_settings

if TYPE_CHECKING:
    from habla_ml.annotation.sources.label_studio.client import LabelStudio
    from habla_ml.annotation.sources.label_studio.push import PushReport
    from habla_ml.lake import Lake

label_studio_app = typer.Typer(no_args_is_help=True, help="People listen and correct in Label Studio.")
Profile = Annotated[
    str | None,
    typer.Option("--profile", "-p", help="A profile below configs/, or a YAML file; default HABLA_PROFILE."),
]
console = Console(highlight=False)


@label_studio_app.command()
def up(profile: Profile = None) -> None:
    """Start the embedded server (installed at the first call) and serve until Ctrl-C."""
    from habla_ml.annotation.sources.label_studio.server import install_server, resolve_server_config, run_server

    settings = load_settings(profile)
    config = resolve_server_config(settings)
    install_server(config.environment, console.print)
    console.print(f"starting Label Studio; its log is {config.log}")
    with run_server(config) as server:
        # A password belongs on a person's screen, not into the log of whatever else starts us.
        password = server.login.password if console.is_terminal else f"in {config.folder / 'login.json'}"
        console.print(f"{server.url}\n  user      {server.login.username}\n  password  {password}", soft_wrap=True)
        console.print("then, elsewhere: habla-ml label-studio push · Ctrl-C stops the server, its data stay")
        try:
            server.process.wait()
        except KeyboardInterrupt:
            return
    raise ServiceError(f"Label Studio ended by itself; see {config.log}")


@label_studio_app.command()
def push(
    profile: Profile = None,
    most: Annotated[int | None, typer.Option(help="Only the first so many of the queue.")] = None,
) -> None:
    """Give each segment of the newest review queue a task; one that has a task gets no other."""
    settings = load_settings(profile)
    with _open_connection(settings) as (lake, server):
        report = _push_queue(settings, lake, server, most)
    console.print(
        f"{report.added} new tasks, {report.known} were there already: {report.project.page}", soft_wrap=True
    )
    if report.without_audio:
        console.print(f"[yellow]{len(report.without_audio)} segments have no audio in the lake; left out[/]")


@label_studio_app.command()
def pull(profile: Profile = None) -> None:
    """Bring what people submitted since the last time into the log of annotation events."""
    from habla_ml.annotation.sources.label_studio.project import find_project
    from habla_ml.annotation.sources.label_studio.pull import pull_events

    settings = load_settings(profile)
    chosen = settings.annotation.label_studio
    with _open_connection(settings) as (lake, server):
        project = find_project(server, chosen.title)
        if project is None:
            raise ServiceError(f"{server.url} has no project {chosen.title!r}; push a review queue first")
        report = pull_events(lake, server, project, chosen, datetime.now(UTC))
    console.print(f"{report.tasks} tasks changed: {report.added} new events, {report.cancelled} skipped by people")
    for each in report.skipped_inputs:
        console.print(f"[yellow]set aside[/] {each.file}: ", end="")
        console.print(each.reason, markup=False)
    if report.days:
        console.print(f"days with new text (the sensor asks for them): {', '.join(report.days)}")


@label_studio_app.command("reconcile")
def reconcile_command(profile: Profile = None) -> None:
    """Compare with every task on the server: push deleted ones of the queue again, delete doubled ones."""
    from habla_ml.annotation.review_queue import load_queue
    from habla_ml.annotation.sources.label_studio.project import find_project
    from habla_ml.annotation.sources.label_studio.reconcile import reconcile

    settings = load_settings(profile)
    with _open_connection(settings) as (lake, server):
        project = find_project(server, settings.annotation.label_studio.title)
        if project is None:
            raise ServiceError(
                f"{server.url} has no project {settings.annotation.label_studio.title!r}; push a review queue first"
            )
        found = reconcile(lake, server, project)
        again = _push_queue(settings, lake, server, None).added if found.without_task and load_queue(lake) else 0
    console.print(f"{found.tasks} tasks; {found.duplicates_deleted} doubled ones deleted")
    console.print(
        f"{len(found.without_task)} had been deleted on the server, {again} tasks of the queue were made anew"
    )
    console.print(
        f"{len(found.without_annotation)} segments lost their annotation there; the events stay in the log"
    )


@contextmanager
def _open_connection(settings: Settings) -> Iterator[tuple[Lake, LabelStudio]]:
    from habla_ml.annotation.sources.label_studio.configured_server import connect
    from habla_ml.lake.factory import open_lake

    with connect(settings) as server:
        yield open_lake(settings.lake, settings.work_folder / "cache"), server


def _push_queue(settings: Settings, lake: Lake, server: LabelStudio, most: int | None) -> PushReport:
    from habla_ml.annotation.review_queue import load_queue
    from habla_ml.annotation.sources.label_studio.configured_server import push_queue

    queue = load_queue(lake)
    if queue is None:
        raise CorpusError(f"{lake.url} has no review queue yet; materialise `review_queue` first")
    return push_queue(settings, lake, server, queue.items[:most], console.print)
