"""What a pull cannot see: tasks and annotations that were deleted on the server, and tasks that came twice."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import pyarrow.compute as pc

from habla_ml.annotation.label_studio.client import LabelStudio
from habla_ml.annotation.label_studio.project import Project
from habla_ml.annotation.label_studio.pull import LABEL_STUDIO, load_pulled
from habla_ml.annotation.label_studio.push import Pushed, load_pushed, save_pushed
from habla_ml.annotation.log import event_table, load_events
from habla_ml.lake import Lake


@dataclass(frozen=True)
class Reconciliation:
    """What the server holds beside what we believed."""

    tasks: int
    """Tasks with a segment, after the doubled ones were deleted."""
    gone: tuple[str, ...]
    """Segments whose task was deleted there; the next push gives those still in the queue a new one."""
    doubled: int
    """Tasks deleted because another one has the same segment; none that a person had answered."""
    withdrawn: tuple[str, ...]
    """Segments whose events stay although their task has no annotation any more."""


def reconcile(lake: Lake, server: LabelStudio, project: Project) -> Reconciliation:
    """Read every task's id once, mend what we believe, and say what is gone.

    Events are append-only: an annotation deleted on the server makes no text vanish. Who wants a text gone says so
    with a new annotation (`unusable`), which wins as the newer one.

    Raises:
        ServiceError: the server cannot be reached or refuses; run again.
        PointerMovedError: somebody pushed in the meantime; run again.
    """
    before = load_pushed(lake, project)
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    last = before.last_task
    for task in server.listed_tasks(project.id):
        last = max(last, task.id)
        if isinstance(segment := task.data.get("segment_id"), str):
            found[segment].append((task.total_annotations, task.id))
    doubled = 0
    for tasks in found.values():
        tasks.sort(key=lambda task: (-task[0], task[1]))
        for answers, number in tasks[1:]:
            if answers == 0:
                server.delete_task(number)
                doubled += 1
    segments = sorted(found)
    batches = (lake.put_json(segments),) if segments else ()
    save_pushed(lake, project, Pushed(frozenset(segments), last, batches))
    unanswered = {segment for segment, tasks in found.items() if tasks[0][0] == 0}
    return Reconciliation(
        tasks=sum(map(len, found.values())) - doubled,
        gone=tuple(sorted(before.segments - found.keys())),
        doubled=doubled,
        withdrawn=tuple(sorted(unanswered & _answered(lake, project))),
    )


def _answered(lake: Lake, project: Project) -> set[str]:
    """Segments that have an event from Label Studio."""
    answered: set[str] = set()
    for day in load_pulled(lake, project).days:
        if (events := load_events(lake, day)) is not None:
            table = event_table(lake, events.parquet)
            mine = table.filter(pc.equal(table["source"], LABEL_STUDIO))
            answered.update(mine["segment_id"].to_pylist())
    return answered
