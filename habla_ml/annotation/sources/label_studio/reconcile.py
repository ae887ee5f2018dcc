"""Changes that a pull cannot detect: tasks and annotations deleted on the server, and duplicate tasks."""

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
    """The server's tasks compared with the pushed ones."""

    tasks: int
    """Tasks with a segment, after duplicates were deleted."""
    without_task: tuple[str, ...]
    """Segments whose last task was deleted on the server; the next push of a queue with them makes a new one."""
    duplicates_deleted: int
    """Unanswered tasks deleted because the segment has another one of the same or a later attempt."""
    without_annotation: tuple[str, ...]
    """Segments whose task has no annotation any more; their events stay."""


def reconcile(lake: Lake, server: LabelStudio, project: Project) -> Reconciliation:
    """Read every task's id, repair the push state, and return what was deleted on the server.

    Events are append-only: deleting an annotation on the server does not remove its text. To take a text back, submit
    a new annotation (`unusable`), which replaces it as the newer one.

    Raises:
        ServiceError: The server cannot be reached or refuses. Run again.
        PointerMovedError: Another process pushed at the same time. Run again.
    """
    before = load_push_state(lake, project)
    found: dict[str, list[ListedTask]] = defaultdict(list)
    last = before.last_task
    for task in server.list_tasks(project.id):
        last = max(last, task.id)
        if (segment := task.segment_id) is not None:
            found[segment].append(task)
    deleted = 0
    for tasks in found.values():
        # The latest attempt first; within one attempt the answered task, then the oldest.
        tasks.sort(key=lambda task: (-task.attempt, -task.total_annotations, task.id))
        for task in tasks[1:]:
            if task.total_annotations == 0:
                server.delete_task(task.id)
                deleted += 1
    attempts = {segment: tasks[0].attempt for segment, tasks in sorted(found.items())}
    batches = (lake.put_json(attempts),) if attempts else ()
    present = {task.id for tasks in found.values() for task in tasks}
    shared = {segment: task for segment, task in before.shared.items() if task in present}
    save_push_state(lake, project, PushState(attempts, last, batches, shared))
    unanswered = {segment for segment, tasks in found.items() if not any(each.total_annotations for each in tasks)}
    return Reconciliation(
        tasks=sum(map(len, found.values())) - deleted,
        without_task=tuple(
            sorted(segment for segment, attempt in before.attempts.items() if attempts.get(segment, -1) < attempt)
        ),
        duplicates_deleted=deleted,
        without_annotation=tuple(sorted(unanswered & _find_annotated_segments(lake, project))),
    )


def _find_annotated_segments(lake: Lake, project: Project) -> set[str]:
    """Return the segments that have an event from Label Studio."""
    annotated: set[str] = set()
    for day in load_pull_state(lake, project).days:
        if (events := load_events(lake, day)) is not None:
            table = read_event_table(lake, events.parquet, ["segment_id", "source"])
            annotated.update(table.filter(pc.equal(table["source"], LABEL_STUDIO))["segment_id"].to_pylist())
    return annotated
