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

from habla_ml.annotation.label_studio.client import LabelStudio, NewTask
from habla_ml.annotation.label_studio.project import AudioShelf, Project
from habla_ml.annotation.review import ReviewItem
from habla_ml.errors import ServiceError
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings import load_day

_LOST_AT_MOST: Final = 5
_PAUSE_S: Final = 0.5
_ROWS: Final = 256
_LONGEST_HINT: Final = 5_000
_WHY: Final = (
    "Vuelve a revisión: el texto no cumple las convenciones ({}). Corrígelo, o envíalo tal cual si así se dice."
)


@dataclass(frozen=True)
class Pushed:
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


def load_pushed(lake: Lake, project: Project) -> Pushed:
    """What the lake knows of the project's tasks."""
    pointer = lake.pointer(catalogue.LABEL_STUDIO_PUSHED.name(project.key))
    if pointer is None:
        return Pushed({}, 0, ())
    batches = tuple(pointer.value["batches"])
    rounds: dict[str, int] = {}
    for batch in batches:
        rounds.update(lake.get_json(batch))
    return Pushed(rounds, pointer.value["last_task"], batches)


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
        "segments": len(pushed.rounds),
    }
    lake.move_pointer(
        catalogue.LABEL_STUDIO_PUSHED.name(project.key),
        value,
        lake.pointer(catalogue.LABEL_STUDIO_PUSHED.name(project.key)),
    )


def push_segments(
    items: Iterable[ReviewItem],
    lake: Lake,
    server: LabelStudio,
    project: Project,
    shelf: AudioShelf,
    batch_size: int,
    tell: Callable[[str], None],
) -> PushReport:
    """Give each segment the task of its round, in the order of `items`; one that has it gets no other.

    Raises:
        ServiceError: the server cannot be reached or refuses; what was accepted is remembered, push again.
        PointerMovedError: somebody else pushed in the meantime; push again.
    """
    listed = {each.segment_id: each for each in items}
    pushed = _looked(lake, server, project, load_pushed(lake, project))
    fresh = [each for each in listed.values() if not pushed.has(each.segment_id, each.round)]
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
        round=item.round,
        why="" if item.objection is None else _WHY.format(", ".join(item.objection.rules)),
    )


def _import(lake: Lake, server: LabelStudio, project: Project, pushed: Pushed, tasks: Sequence[NewTask]) -> Pushed:
    """Import until each of `tasks` is there, looking after every lost answer."""
    for lost in range(_LOST_AT_MOST):
        waiting = [each for each in tasks if not pushed.has(each.segment_id, each.round)]
        if not waiting:
            return pushed
        time.sleep(_PAUSE_S * lost)
        accepted = server.import_tasks(project.id, waiting)
        if accepted is not None and len(set(accepted.task_ids)) == len(waiting):
            arrived = {each.segment_id: each.round for each in waiting}
            return _remembered(lake, project, pushed, arrived, max(accepted.task_ids))
        pushed = _looked(lake, server, project, pushed)
    if all(pushed.has(each.segment_id, each.round) for each in tasks):
        return pushed
    raise ServiceError(
        f"{server.url} lost {_LOST_AT_MOST} imports one after the other; look at its log, then push again: what "
        "arrived is not sent twice"
    )


def _looked(lake: Lake, server: LabelStudio, project: Project, pushed: Pushed) -> Pushed:
    """Take in the tasks above the highest id known; whoever made them."""
    found, last = dict[str, int](), pushed.last_task
    for task in server.listed_tasks(project.id, pushed.last_task):
        last = max(last, task.id)
        if (segment := task.segment_id) is not None:
            found[segment] = max(task.round, found.get(segment, 0))
    if last == pushed.last_task:
        return pushed
    unknown = {segment: number for segment, number in sorted(found.items()) if not pushed.has(segment, number)}
    return _remembered(lake, project, pushed, unknown, last)


def _remembered(
    lake: Lake, project: Project, pushed: Pushed, arrived: Mapping[str, int], last_task: int
) -> Pushed:
    batches = (*pushed.batches, lake.put_json(dict(arrived))) if arrived else pushed.batches
    after = Pushed({**pushed.rounds, **arrived}, max(last_task, pushed.last_task), batches)
    save_pushed(lake, project, after)
    return after
