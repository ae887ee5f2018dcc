"""Pushing review items to Label Studio: audio first, then tasks in batches, one task per segment and attempt.

An answered task is not shown again, so a review request gets a new task with the next attempt. An import is not
idempotent and can be interrupted. Therefore the lake keeps the accepted segments with their attempts, and the highest
task id that was read. Before the first batch, and after every lost response, the tasks above that id are read, and
those that arrived are not sent again.

A segment for two people is one task that the server closes after the answers of two people: it gives the task to each
person once, and shows nobody the answer of another. The import cannot set this, so a change of the task follows it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

from habla_ml.annotation.review_audio import iterate_audio
from habla_ml.annotation.review_queue import ReviewItem
from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.annotation.sources.label_studio.project import AudioFolder, Project
from habla_ml.annotation.sources.label_studio.spanish import translate_reason, translate_rules
from habla_ml.errors import ServiceError
from habla_ml.lake import Lake, catalogue

_MAX_LOST_IMPORTS: Final = 5
_RETRY_PAUSE_S: Final = 0.5
_MAX_HINT_CHARS: Final = 5_000
_BLIND_TEXT: Final = "Escríbelo de oído: este segmento no trae texto a propósito."
_SECOND_PERSON_TEXT: Final = "Otra persona lo escribe también, por separado."
_REVIEW_REQUEST_TEXT: Final = (
    "Vuelve a revisión: el texto no cumple las convenciones ({}). Corrígelo, o envíalo tal cual si así se dice."
)


@dataclass(frozen=True)
class PushState:
    """The segments that a project has tasks of, as far as its tasks were read."""

    attempts: Mapping[str, int]
    """Segment → the latest attempt that it has a task of."""
    last_task: int
    """Tasks up to this id were read."""
    batches: tuple[str, ...]
    """Object ids of the parts that make up `attempts`; later ones override earlier ones."""
    shared: Mapping[str, int] = field(default_factory=dict)
    """Segment → its task that waits for the answers of several people."""

    def has(self, segment_id: str, attempt: int) -> bool:
        """Return whether the segment has a task of this attempt or a later one."""
        return self.attempts.get(segment_id, -1) >= attempt


@dataclass(frozen=True)
class PushReport:
    """The result of a push."""

    project: Project
    added: int
    known: int
    """Segments that had their task already."""
    without_audio: tuple[str, ...]
    """Segments that were left out because the lake has no audio of them."""


def load_push_state(lake: Lake, project: Project) -> PushState:
    """Return what the lake knows of the project's tasks."""
    pointer = lake.read_pointer(catalogue.LABEL_STUDIO_PUSHED.name(project.key))
    if pointer is None:
        return PushState({}, 0, ())
    batches = tuple(pointer.value["batches"])
    attempts = {segment: attempt for batch in batches for segment, attempt in lake.get_json(batch).items()}
    shared = pointer.value.get("shared")
    return PushState(attempts, pointer.value["last_task"], batches, lake.get_json(shared) if shared else {})


def save_push_state(lake: Lake, project: Project, state: PushState) -> None:
    """Store what is known of the tasks; raise `PointerMovedError` if another process pushed at the same time."""
    name = catalogue.LABEL_STUDIO_PUSHED.name(project.key)
    value = {
        "url": project.url,
        "project": project.id,
        "last_task": state.last_task,
        "batches": list(state.batches),
        "segments": len(state.attempts),
        "shared": lake.put_json(dict(sorted(state.shared.items()))),
    }
    lake.move_pointer(name, value, lake.read_pointer(name))


def push_segments(
    items: Iterable[ReviewItem],
    lake: Lake,
    server: LabelStudio,
    project: Project,
    audio_folder: AudioFolder,
    batch_size: int,
    log: Callable[[str], None],
) -> PushReport:
    """Create a task for each segment that has none for its attempt, in the order of `items`.

    Raises:
        ServiceError: The server cannot be reached or refuses. Accepted tasks are recorded; push again.
        PointerMovedError: Another process pushed at the same time. Push again.
    """
    listed = {each.segment_id: each for each in items}
    before = load_push_state(lake, project)
    state = _read_new_tasks(lake, server, project, before)
    fresh = [each for each in listed.values() if not state.has(each.segment_id, each.attempt)]
    stored = set(store_audio(lake, fresh, audio_folder))
    waiting = iter([each for each in fresh if each.segment_id in stored])
    added = 0
    while batch := list(islice(waiting, batch_size)):
        state = _import_batch(lake, server, project, state, batch, audio_folder)
        added += len(batch)
        log(f"{added} of {len(stored)} tasks")
    wanted = {each.segment_id: each.blind_people for each in listed.values() if each.blind_people > 1}
    _share_tasks(lake, server, project, state, wanted, before.last_task)
    missing = tuple(each.segment_id for each in fresh if each.segment_id not in stored)
    return PushReport(project, added, len(listed) - len(fresh), missing)


def store_audio(lake: Lake, items: Sequence[ReviewItem], audio_folder: AudioFolder) -> Iterator[str]:
    """Store the FLAC of each segment that the lake has; yield the ids of these."""
    for day, segment_id, flac in iterate_audio(lake, items):
        audio_folder.store.put_if_absent(audio_folder.key_of(day, segment_id), flac)
        yield segment_id


def _build_task_data(item: ReviewItem, audio_folder: AudioFolder) -> dict[str, Any]:
    """Return the fields of the labelling configuration, and those that the pull needs."""
    reasons = ", ".join(map(translate_reason, item.reasons))
    fields = ("segment_id", "day", "session_id", "model_version")
    return {
        **{name: getattr(item, name) for name in fields},
        "audio": f"{audio_folder.prefix}{audio_folder.key_of(item.day, item.segment_id)}",
        "hint": item.hint[:_MAX_HINT_CHARS],
        "context": " · ".join((item.speaker, item.session_id, reasons)),
        "round": item.attempt,
        "why": _write_instruction(item),
    }


def _write_instruction(item: ReviewItem) -> str:
    """Return what is special about a task, in Spanish; empty for an ordinary one."""
    if item.request is not None:
        return _REVIEW_REQUEST_TEXT.format(translate_rules(item.request.rules))
    if not item.is_blind:
        return ""
    return f"{_BLIND_TEXT} {_SECOND_PERSON_TEXT}" if item.blind_people > 1 else _BLIND_TEXT


def _share_tasks(
    lake: Lake, server: LabelStudio, project: Project, state: PushState, wanted: Mapping[str, int], last_task: int
) -> None:
    """Let the first task of each wanted segment wait for the answers of several people; repeat what a crash cut off.

    `wanted` is segment → number of people. Tasks up to `last_task` are read only if a segment has no newer one.
    """
    waiting = {each: people for each, people in wanted.items() if each in state.attempts and each not in state.shared}
    found: dict[str, int] = {}
    for after in dict.fromkeys((last_task, 0)):
        if waiting.keys() - found.keys():
            for task in server.list_tasks(project.id, after):
                if task.segment_id in waiting and task.attempt == 0:
                    found.setdefault(task.segment_id, task.id)
    for segment, number in found.items():
        server.set_overlap(number, waiting[segment])
    if found:
        save_push_state(lake, project, replace(state, shared={**state.shared, **found}))


def _import_batch(
    lake: Lake,
    server: LabelStudio,
    project: Project,
    state: PushState,
    items: Sequence[ReviewItem],
    audio_folder: AudioFolder,
) -> PushState:
    """Import until each of `items` has a task on the server; after a lost response read which ones arrived."""
    for lost in range(_MAX_LOST_IMPORTS):
        waiting = [each for each in items if not state.has(each.segment_id, each.attempt)]
        if not waiting:
            return state
        time.sleep(_RETRY_PAUSE_S * lost)
        accepted = server.import_tasks(project.id, [_build_task_data(each, audio_folder) for each in waiting])
        if accepted is not None and len(set(accepted.task_ids)) == len(waiting):
            arrived = {each.segment_id: each.attempt for each in waiting}
            return _save_new_tasks(lake, project, state, arrived, max(accepted.task_ids))
        state = _read_new_tasks(lake, server, project, state)
    if all(state.has(each.segment_id, each.attempt) for each in items):
        return state
    raise ServiceError(
        f"{server.url} lost {_MAX_LOST_IMPORTS} imports in a row; read its log, then push again: tasks that arrived "
        "are not sent twice"
    )


def _read_new_tasks(lake: Lake, server: LabelStudio, project: Project, state: PushState) -> PushState:
    """Record all tasks above the highest known id."""
    found, last = dict[str, int](), state.last_task
    for task in server.list_tasks(project.id, state.last_task):
        last = max(last, task.id)
        if (segment := task.segment_id) is not None:
            found[segment] = max(task.attempt, found.get(segment, 0))
    if last == state.last_task:
        return state
    new = {segment: attempt for segment, attempt in sorted(found.items()) if not state.has(segment, attempt)}
    return _save_new_tasks(lake, project, state, new, last)


def _save_new_tasks(
    lake: Lake, project: Project, state: PushState, arrived: Mapping[str, int], last_task: int
) -> PushState:
    batches = (*state.batches, lake.put_json(dict(arrived))) if arrived else state.batches
    attempts = {**state.attempts, **arrived}
    after = replace(state, attempts=attempts, last_task=max(last_task, state.last_task), batches=batches)
    save_push_state(lake, project, after)
    return after
