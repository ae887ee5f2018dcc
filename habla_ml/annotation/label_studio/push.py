"""Segments become tasks: audio first, then tasks in batches, each segment once.

An import is not idempotent and can be cut in the middle. So the lake keeps which segments were accepted and the
highest task id that was looked at; before the first batch, and whenever an answer was lost, the tasks above that id
are looked at and what arrived is not sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.annotation.label_studio.client import LabelStudio, NewTask
from habla_ml.annotation.label_studio.project import AudioShelf, Project
from habla_ml.annotation.review import ReviewItem
from habla_ml.errors import ServiceError
from habla_ml.lake import Lake
from habla_ml.recordings import load_day

_LOST_AT_MOST: Final = 5
_PAUSE_S: Final = 0.5
_ROWS: Final = 256
_LONGEST_HINT: Final = 5_000


@dataclass(frozen=True)
class Pushed:
    """Which segments a project holds, as far as was looked."""

    segments: frozenset[str]
    last_task: int
    """Tasks up to this id were looked at."""
    batches: tuple[str, ...]
    """Object ids of the lists that make up `segments`."""


@dataclass(frozen=True)
class PushReport:
    """What a push did."""

    project: Project
    added: int
    known: int
    """Segments that had a task already."""
    without_audio: tuple[str, ...]
    """Segments whose audio is not in the lake; they were left out."""


def pushed_pointer(project: Project) -> str:
    """Name of the pointer of what a project holds."""
    return f"label_studio/{project.key}/pushed"


def load_pushed(lake: Lake, project: Project) -> Pushed:
    """What the lake knows of the project's tasks."""
    pointer = lake.pointer(pushed_pointer(project))
    if pointer is None:
        return Pushed(frozenset(), 0, ())
    batches = tuple(pointer.value["batches"])
    segments = frozenset(each for batch in batches for each in lake.get_json(batch))
    return Pushed(segments, pointer.value["last_task"], batches)


def save_pushed(lake: Lake, project: Project, pushed: Pushed) -> None:
    """Move the pointer.

    Raises:
        PointerMovedError: somebody else pushed in the meantime; run again.
    """
    value = {
        "url": project.url,
        "project": project.id,
        "last_task": pushed.last_task,
        "batches": list(pushed.batches),
        "segments": len(pushed.segments),
    }
    lake.move_pointer(pushed_pointer(project), value, lake.pointer(pushed_pointer(project)))


def push_segments(
    items: Iterable[ReviewItem],
    lake: Lake,
    server: LabelStudio,
    project: Project,
    shelf: AudioShelf,
    batch_size: int,
    tell: Callable[[str], None],
) -> PushReport:
    """Give each segment a task, in the order of `items`; one that has a task gets no other.

    Raises:
        ServiceError: the server cannot be reached or refuses; what was accepted is remembered, push again.
        PointerMovedError: somebody else pushed in the meantime; push again.
    """
    listed = {each.segment_id: each for each in items}
    pushed = _looked(lake, server, project, load_pushed(lake, project))
    fresh = [each for each in listed.values() if each.segment_id not in pushed.segments]
    shelved = set(shelve_audio(lake, fresh, shelf))
    waiting = iter([each for each in fresh if each.segment_id in shelved])
    added = 0
    while batch := list(islice(waiting, batch_size)):
        pushed = _import(lake, server, project, pushed, [_task(each, shelf) for each in batch])
        added += len(batch)
        tell(f"{added} of {len(shelved)} tasks")
    missing = tuple(each.segment_id for each in fresh if each.segment_id not in shelved)
    return PushReport(project, added, len(listed) - len(fresh), missing)


def shelve_audio(lake: Lake, items: Sequence[ReviewItem], shelf: AudioShelf) -> Iterator[str]:
    """Lay down the FLAC of each segment that the lake holds; yields their ids. Memory holds one row group."""
    for day in sorted({each.day for each in items}):
        recordings = load_day(lake, day)
        if recordings is None:
            continue
        wanted = pa.array(sorted({each.segment_id for each in items if each.day == day}), pa.string())
        file = pq.ParquetFile(lake.path_of(recordings.parquet))
        for rows in file.iter_batches(_ROWS, columns=["segment_id", "audio"]):
            for row in rows.filter(pc.is_in(rows["segment_id"], wanted)).to_pylist():
                shelf.store.put_if_absent(shelf.key_of(day, row["segment_id"]), row["audio"])
                yield row["segment_id"]


def _task(item: ReviewItem, shelf: AudioShelf) -> NewTask:
    return NewTask(
        segment_id=item.segment_id,
        audio=f"{shelf.prefix}{shelf.key_of(item.day, item.segment_id)}",
        hint=item.hint[:_LONGEST_HINT],
        day=item.day,
        session_id=item.session_id,
        model_version=item.model_version,
        context=" · ".join((item.speaker, item.session_id, ", ".join(item.reasons))),
    )


def _import(lake: Lake, server: LabelStudio, project: Project, pushed: Pushed, tasks: Sequence[NewTask]) -> Pushed:
    """Import until each of `tasks` is there, looking after every lost answer."""
    for lost in range(_LOST_AT_MOST):
        waiting = [each for each in tasks if each.segment_id not in pushed.segments]
        if not waiting:
            return pushed
        time.sleep(_PAUSE_S * lost)
        accepted = server.import_tasks(project.id, waiting)
        if accepted is not None and len(set(accepted.task_ids)) == len(waiting):
            segments = [each.segment_id for each in waiting]
            return _remembered(lake, project, pushed, segments, max(accepted.task_ids))
        pushed = _looked(lake, server, project, pushed)
    if all(each.segment_id in pushed.segments for each in tasks):
        return pushed
    raise ServiceError(
        f"{server.url} lost {_LOST_AT_MOST} imports one after the other; look at its log, then push again: what "
        "arrived is not sent twice"
    )


def _looked(lake: Lake, server: LabelStudio, project: Project, pushed: Pushed) -> Pushed:
    """Take in the tasks above the highest id known; whoever made them."""
    found, last = set[str](), pushed.last_task
    for task in server.listed_tasks(project.id, pushed.last_task):
        last = max(last, task.id)
        if isinstance(segment := task.data.get("segment_id"), str):
            found.add(segment)
    if last == pushed.last_task:
        return pushed
    return _remembered(lake, project, pushed, sorted(found - pushed.segments), last)


def _remembered(lake: Lake, project: Project, pushed: Pushed, segments: Sequence[str], last_task: int) -> Pushed:
    batches = (*pushed.batches, lake.put_json(list(segments))) if segments else pushed.batches
    after = replace(
        pushed,
        segments=pushed.segments | set(segments),
        last_task=max(last_task, pushed.last_task),
        batches=batches,
    )
    save_pushed(lake, project, after)
    return after
