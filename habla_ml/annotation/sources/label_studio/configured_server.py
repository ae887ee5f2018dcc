"""Work with the server that the settings name: connect, push the review queue, delete tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import PurePosixPath

from habla_ml.annotation.review_queue import ReviewItem
from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.annotation.sources.label_studio.project import (
    AUDIO_FOLDER_NAME,
    find_project,
    open_audio_folder,
    open_project,
)
from habla_ml.annotation.sources.label_studio.push import PushReport, push_segments
from habla_ml.annotation.sources.label_studio.server import (
    has_been_started,
    resolve_server_config,
    resolve_server_token,
)
from habla_ml.lake import Lake
from habla_ml.settings import Settings


def has_server(settings: Settings) -> bool:
    """Return whether the settings name a server, or the embedded one was ever started."""
    return settings.annotation.label_studio.url is not None or has_been_started(settings)


def connect(settings: Settings, patience_s: float | None = None) -> LabelStudio:
    """Return a client of the configured server, to be used as a context manager.

    Args:
        settings: They name the server.
        patience_s: How long a read is repeated while the server is down; None takes the settings' own.

    Raises:
        SettingsError: There is no token, or no server was started and none is named.
    """
    default_s = settings.annotation.label_studio.patience_s
    return LabelStudio(*resolve_server_token(settings), default_s if patience_s is None else patience_s)


def push_queue(
    settings: Settings, lake: Lake, server: LabelStudio, items: Sequence[ReviewItem], log: Callable[[str], None]
) -> PushReport:
    """Create a task with audio for each item that has none for its attempt.

    Raises `ServiceError` if the server cannot be reached or refuses. Run again, nothing is duplicated.
    """
    chosen = settings.annotation.label_studio
    audio_folder = open_audio_folder(settings, resolve_server_config(settings).documents)
    project = open_project(server, chosen.title, audio_folder)
    return push_segments(items, lake, server, project, audio_folder, chosen.batch_size, log)


def delete_tasks(settings: Settings, server: LabelStudio, segment_ids: Collection[str]) -> int:
    """Delete the tasks of these segments with their annotations and audio; return how many tasks were deleted.

    Raises `ServiceError` if the server cannot be reached or refuses. Run again.
    """
    deleted = 0
    audio_folder = open_audio_folder(settings, resolve_server_config(settings).documents)
    for entry in list(audio_folder.store.list(f"{AUDIO_FOLDER_NAME}/")):
        if PurePosixPath(entry.key).stem in segment_ids:
            audio_folder.store.delete(entry.key)
    project = find_project(server, settings.annotation.label_studio.title)
    for task in list(server.list_tasks(project.id)) if project else ():
        if task.segment_id in segment_ids:
            server.delete_task(task.id)
            deleted += 1
    return deleted
