"""What the pipeline does with the server that the settings mean: fill it, and make it forget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import PurePosixPath

from habla_ml.annotation.label_studio.client import LabelStudio
from habla_ml.annotation.label_studio.project import FOLDER, find_project, open_project, open_shelf
from habla_ml.annotation.label_studio.push import PushReport, push_segments
from habla_ml.annotation.label_studio.server import server_place, server_token, was_started
from habla_ml.annotation.review import ReviewItem
from habla_ml.lake import Lake
from habla_ml.settings import Settings


def has_server(settings: Settings) -> bool:
    """Whether the settings name a server, or one was ever started here."""
    return settings.annotation.label_studio.url is not None or was_started(settings)


def connect(settings: Settings, patience_s: float | None = None) -> LabelStudio:
    """A client of the server that the settings mean; use it as a context manager.

    Args:
        settings: name the server.
        patience_s: how long a server that is down is waited for; None takes the settings' own.

    Raises:
        SettingsError: there is no token, or no server was started here and none is named.
    """
    own = settings.annotation.label_studio.patience_s
    return LabelStudio(*server_token(settings), own if patience_s is None else patience_s)


def push_queue(
    settings: Settings, lake: Lake, server: LabelStudio, items: Sequence[ReviewItem], tell: Callable[[str], None]
) -> PushReport:
    """Give each item the task of its round, with its audio; one that has it gets no other.

    Raises:
        ServiceError: the server cannot be reached or refuses; run again, nothing is doubled.
    """
    chosen = settings.annotation.label_studio
    shelf = open_shelf(settings, server_place(settings).documents)
    project = open_project(server, chosen.title, shelf)
    return push_segments(items, lake, server, project, shelf, chosen.batch_size, tell)


def forget_tasks(settings: Settings, server: LabelStudio, segment_ids: Collection[str]) -> int:
    """Delete the tasks of these segments, answered or not, and the audio laid down for them; how many tasks.

    Raises:
        ServiceError: the server cannot be reached or refuses; run again.
    """
    gone, deleted = frozenset(segment_ids), 0
    shelf = open_shelf(settings, server_place(settings).documents)
    for entry in list(shelf.store.list(f"{FOLDER}/")):
        if PurePosixPath(entry.key).stem in gone:
            shelf.store.delete(entry.key)
    project = find_project(server, settings.annotation.label_studio.title)
    if project is None:
        return 0
    for task in list(server.listed_tasks(project.id)):
        if task.data.get("segment_id") in gone:
            server.delete_task(task.id)
            deleted += 1
    return deleted
