"""What a pull cannot see: tasks and annotations that were deleted on the server, and tasks that came twice."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import pyarrow.compute as pc

from habla_ml.annotation.event_log import load_events, read_event_table
from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.annotation.sources.label_studio.messages import ListedTask
from habla_ml.annotation.sources.label_studio.project import Project
from habla_ml.annotation.sources.label_studio.pull import LABEL_STUDIO, load_pull_state
from habla_ml.annotation.sources.label_studio.push import PushState, load_push_state, save_push_state
from habla_ml.lake import Lake


@dataclass(frozen=True)
class Reconciliation:
    """What the server holds beside what we believed."""

    tasks: int
    """Tasks with a segment, after the doubled ones were deleted."""
    without_task: tuple[str, ...]
    """Segments whose last task was deleted there; the next push gives those still in the queue a new one."""
    duplicates_deleted: int
    """Tasks deleted because the segment has another of the same round or a later one; none that a person had
    answered."""
    without_annotation: tuple[str, ...]
    """Segments whose events stay although their task has no annotation any more."""


def reconcile(lake: Lake, server: LabelStudio, project: Project) -> Reconciliation:
    """Read every task's id once, mend what we believe, and say what is gone.

    Events are append-only: an annotation deleted on the server makes no text vanish. Who wants a text gone says so
    with a new annotation (`unusable`), which wins as the newer one.

    Raises:
        ServiceError: the server cannot be reached or refuses; run again.
        PointerMovedError: somebody pushed in the meantime; run again.
    """
    before = load_push_state(lake, project)
    found: dict[str, list[ListedTask]] = defaultdict(list)
    last = before.last_task
    for task in server.list_tasks(project.id):
        last = max(last, task.id)
        if (segment := task.segment_id) is not None:
            found[segment].append(task)
    doubled = 0
    for tasks in found.values():
        # The later round first, and of one round the answered and then the older task.
        tasks.sort(key=lambda task: (-task.round, -task.total_annotations, task.id))
        for task in tasks[1:]:
            if task.total_annotations == 0:
                server.delete_task(task.id)
                doubled += 1
    rounds = {segment: tasks[0].round for segment, tasks in sorted(found.items())}
    save_push_state(lake, project, PushState(rounds, last, (lake.put_json(rounds),) if rounds else ()))
    unanswered = {segment for segment, tasks in found.items() if not any(each.total_annotations for each in tasks)}
    return Reconciliation(
        tasks=sum(map(len, found.values())) - doubled,
        without_task=tuple(
            sorted(segment for segment, number in before.rounds.items() if rounds.get(segment, -1) < number)
        ),
        duplicates_deleted=doubled,
        without_annotation=tuple(sorted(unanswered & _find_answered_segments(lake, project))),
    )


def _find_answered_segments(lake: Lake, project: Project) -> set[str]:
    """Segments that have an event from Label Studio."""
    answered: set[str] = set()
    for day in load_pull_state(lake, project).days:
        if (events := load_events(lake, day)) is not None:
            table = read_event_table(lake, events.parquet)
            mine = table.filter(pc.equal(table["source"], LABEL_STUDIO))
            answered.update(mine["segment_id"].to_pylist())
    return answered
