"""What the pipeline does with the server that the settings mean: fill it, and make it forget."""

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
    """Whether the settings name a server, or one was ever started here."""
    return settings.annotation.label_studio.url is not None or has_been_started(settings)


def connect(settings: Settings, patience_s: float | None = None) -> LabelStudio:
    """A client of the server that the settings mean; use it as a context manager.

    Args:
        settings: name the server.
        patience_s: how long a server that is down is waited for; None takes the settings' own.

    Raises:
        SettingsError: there is no token, or no server was started here and none is named.
    """
    own = settings.annotation.label_studio.patience_s
    return LabelStudio(*resolve_server_token(settings), own if patience_s is None else patience_s)


def push_queue(
    settings: Settings, lake: Lake, server: LabelStudio, items: Sequence[ReviewItem], log: Callable[[str], None]
) -> PushReport:
    """Give each item the task of its round, with its audio; one that has it gets no other.

    Raises:
        ServiceError: the server cannot be reached or refuses; run again, nothing is doubled.
    """
    chosen = settings.annotation.label_studio
    audio_folder = open_audio_folder(settings, resolve_server_config(settings).documents)
    project = open_project(server, chosen.title, audio_folder)
    return push_segments(items, lake, server, project, audio_folder, chosen.batch_size, log)


def delete_tasks(settings: Settings, server: LabelStudio, segment_ids: Collection[str]) -> int:
    """Delete the tasks of these segments, answered or not, and the audio laid down for them; how many tasks.

    Raises:
        ServiceError: the server cannot be reached or refuses; run again.
    """
    gone, deleted = frozenset(segment_ids), 0
    audio_folder = open_audio_folder(settings, resolve_server_config(settings).documents)
    for entry in list(audio_folder.store.list(f"{AUDIO_FOLDER_NAME}/")):
        if PurePosixPath(entry.key).stem in gone:
            audio_folder.store.delete(entry.key)
    project = find_project(server, settings.annotation.label_studio.title)
    if project is None:
        return 0
    for task in list(server.list_tasks(project.id)):
        if task.data.get("segment_id") in gone:
            server.delete_task(task.id)
            deleted += 1
    return deleted
