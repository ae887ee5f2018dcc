"""Segments become tasks: audio first, then tasks in batches, each segment once a round.

A segment that is sent back gets another task, the next round's: the first one has been answered, and nobody would see
it again. An import is not idempotent and can be cut in the middle. So the lake keeps which segments were accepted in
which round and the highest task id that was looked at; before the first batch, and whenever an answer was lost, the
tasks above that id are looked at and what arrived is not sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.annotation.review_queue import ReviewItem
from habla_ml.annotation.sources.label_studio.client import LabelStudio, NewTask
from habla_ml.annotation.sources.label_studio.project import AudioFolder, Project
from habla_ml.errors import ServiceError
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings import load_day

_MAX_LOST_IMPORTS: Final = 5
_RETRY_PAUSE_S: Final = 0.5
_ROWS_PER_READ: Final = 256
_MAX_HINT_CHARS: Final = 5_000
_REVIEW_REQUEST_TEXT: Final = (
    "Vuelve a revisión: el texto no cumple las convenciones ({}). Corrígelo, o envíalo tal cual si así se dice."
)


@dataclass(frozen=True)
class PushState:
    """Which segments a project holds, as far as was looked."""

    rounds: Mapping[str, int]
    """Segment → the last round of which it has a task."""
    last_task: int
    """Tasks up to this id were looked at."""
    batches: tuple[str, ...]
    """Object ids of the parts that make up `rounds`, later ones over earlier ones."""

    def has(self, segment_id: str, number: int) -> bool:
        """Whether the segment has a task of this round or a later one."""
        return self.rounds.get(segment_id, -1) >= number


@dataclass(frozen=True)
class PushReport:
    """What a push did."""

    project: Project
    added: int
    known: int
    """Segments that had their task already."""
    without_audio: tuple[str, ...]
    """Segments whose audio is not in the lake; they were left out."""


def load_push_state(lake: Lake, project: Project) -> PushState:
    """What the lake knows of the project's tasks."""
    pointer = lake.read_pointer(catalogue.LABEL_STUDIO_PUSHED.name(project.key))
    if pointer is None:
        return PushState({}, 0, ())
    batches = tuple(pointer.value["batches"])
    rounds: dict[str, int] = {}
    for batch in batches:
        rounds.update(lake.get_json(batch))
    return PushState(rounds, pointer.value["last_task"], batches)


def save_push_state(lake: Lake, project: Project, pushed: PushState) -> None:
    """Move the pointer.

    Raises:
        PointerMovedError: somebody else pushed in the meantime; run again.
    """
    value = {
        "url": project.url,
        "project": project.id,
        "last_task": pushed.last_task,
        "batches": list(pushed.batches),
        "segments": len(pushed.rounds),
    }
    lake.move_pointer(
        catalogue.LABEL_STUDIO_PUSHED.name(project.key),
        value,
        lake.read_pointer(catalogue.LABEL_STUDIO_PUSHED.name(project.key)),
    )


def push_segments(
    items: Iterable[ReviewItem],
    lake: Lake,
    server: LabelStudio,
    project: Project,
    audio_folder: AudioFolder,
    batch_size: int,
    log: Callable[[str], None],
) -> PushReport:
    """Give each segment the task of its round, in the order of `items`; one that has it gets no other.

    Raises:
        ServiceError: the server cannot be reached or refuses; what was accepted is remembered, push again.
        PointerMovedError: somebody else pushed in the meantime; push again.
    """
    listed = {each.segment_id: each for each in items}
    pushed = _scan_new_tasks(lake, server, project, load_push_state(lake, project))
    fresh = [each for each in listed.values() if not pushed.has(each.segment_id, each.round)]
    stored = set(store_audio(lake, fresh, audio_folder))
    waiting = iter([each for each in fresh if each.segment_id in stored])
    added = 0
    while batch := list(islice(waiting, batch_size)):
        pushed = _import_batch(lake, server, project, pushed, [_build_task(each, audio_folder) for each in batch])
        added += len(batch)
        log(f"{added} of {len(stored)} tasks")
    missing = tuple(each.segment_id for each in fresh if each.segment_id not in stored)
    return PushReport(project, added, len(listed) - len(fresh), missing)


def store_audio(lake: Lake, items: Sequence[ReviewItem], audio_folder: AudioFolder) -> Iterator[str]:
    """Lay down the FLAC of each segment that the lake holds; yields their ids. Memory holds one row group."""
    for day in sorted({each.day for each in items}):
        recordings = load_day(lake, day)
        if recordings is None:
            continue
        wanted = pa.array(sorted({each.segment_id for each in items if each.day == day}), pa.string())
        file = pq.ParquetFile(lake.fetch_path(recordings.parquet))
        for rows in file.iter_batches(_ROWS_PER_READ, columns=["segment_id", "audio"]):
            for row in rows.filter(pc.is_in(rows["segment_id"], wanted)).to_pylist():
                audio_folder.store.put_if_absent(audio_folder.key_of(day, row["segment_id"]), row["audio"])
                yield row["segment_id"]


def _build_task(item: ReviewItem, audio_folder: AudioFolder) -> NewTask:
    return NewTask(
        segment_id=item.segment_id,
        audio=f"{audio_folder.prefix}{audio_folder.key_of(item.day, item.segment_id)}",
        hint=item.hint[:_MAX_HINT_CHARS],
        day=item.day,
        session_id=item.session_id,
        model_version=item.model_version,
        context=" · ".join((item.speaker, item.session_id, ", ".join(item.reasons))),
        round=item.round,
        why="" if item.objection is None else _REVIEW_REQUEST_TEXT.format(", ".join(item.objection.rules)),
    )


def _import_batch(
    lake: Lake, server: LabelStudio, project: Project, pushed: PushState, tasks: Sequence[NewTask]
) -> PushState:
    """Import until each of `tasks` is there, looking after every lost answer."""
    for lost in range(_MAX_LOST_IMPORTS):
        waiting = [each for each in tasks if not pushed.has(each.segment_id, each.round)]
        if not waiting:
            return pushed
        time.sleep(_RETRY_PAUSE_S * lost)
        accepted = server.import_tasks(project.id, waiting)
        if accepted is not None and len(set(accepted.task_ids)) == len(waiting):
            arrived = {each.segment_id: each.round for each in waiting}
            return _save_new_tasks(lake, project, pushed, arrived, max(accepted.task_ids))
        pushed = _scan_new_tasks(lake, server, project, pushed)
    if all(pushed.has(each.segment_id, each.round) for each in tasks):
        return pushed
    raise ServiceError(
        f"{server.url} lost {_MAX_LOST_IMPORTS} imports one after the other; look at its log, then push again: what "
        "arrived is not sent twice"
    )


def _scan_new_tasks(lake: Lake, server: LabelStudio, project: Project, pushed: PushState) -> PushState:
    """Take in the tasks above the highest id known; whoever made them."""
    found, last = dict[str, int](), pushed.last_task
    for task in server.list_tasks(project.id, pushed.last_task):
        last = max(last, task.id)
        if (segment := task.segment_id) is not None:
            found[segment] = max(task.round, found.get(segment, 0))
    if last == pushed.last_task:
        return pushed
    unknown = {segment: number for segment, number in sorted(found.items()) if not pushed.has(segment, number)}
    return _save_new_tasks(lake, project, pushed, unknown, last)


def _save_new_tasks(
    lake: Lake, project: Project, pushed: PushState, arrived: Mapping[str, int], last_task: int
) -> PushState:
    batches = (*pushed.batches, lake.put_json(dict(arrived))) if arrived else pushed.batches
    after = PushState({**pushed.rounds, **arrived}, max(last_task, pushed.last_task), batches)
    save_push_state(lake, project, after)
    return after
