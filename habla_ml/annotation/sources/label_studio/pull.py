"""Pulling annotations as events: what changed since the last pull, with an overlap, in the order of change.

The time up to which the project was read is the server's own, so clocks need not agree. It is stored after the events:
an interrupted pull is read again, and the log recognises the events that it has. The state also has a digest of each
task in the overlap, so that a pull without news appends and writes nothing.

A lake that was restored can lack a recording that it gets back soon. So the time stays for two days before the first task
whose segment is missing, and its annotation is read once the segment is there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from pydantic import ValidationError

from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent, Status
from habla_ml.annotation.review_queue import load_blind_requests
from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.annotation.sources.label_studio.messages import (
    Annotation,
    ChangedTask,
    ChoicesResult,
    TaskData,
    TextAreaResult,
    describe_validation_error,
)
from habla_ml.annotation.sources.label_studio.project import Project
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.damaged_text import is_blank
from habla_ml.errors import InputError, IsolatedError, PointerMovedError, isolate
from habla_ml.lake import Lake, Pointer, catalogue, compute_digest
from habla_ml.recordings.days import load_day, put_skipped_inputs, read_skipped_inputs
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml.recordings.sessions import Skipped
from habla_ml.settings import LabelStudioSettings

LABEL_STUDIO: Final = "label_studio"

_BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MAX_CLOCK_LEAD: Final = timedelta(days=1)
_LONGEST_HOLD: Final = timedelta(days=2)
"""For so long a pull reads again from a task on whose segment is missing."""
_MAX_BUFFERED_EVENTS: Final = 10_000
_MAX_APPEND_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class PullState:
    """How far a project was read."""

    until: datetime
    """Newest change that was read; UTC."""
    days: tuple[str, ...]
    """Days that ever got an event from the project."""
    skipped_inputs: tuple[Skipped, ...]
    """Invalid annotations that were not corrected since."""
    recent: Mapping[str, str]
    """Task in the overlap → digest of its state whose events the log has."""
    held_since: datetime | None = None
    """When `until` began to wait for a missing segment; UTC."""


@dataclass(frozen=True)
class PullReport:
    """The result of a pull."""

    tasks: int
    """Tasks that changed."""
    added: int
    days: tuple[str, ...]
    """Days that got new events."""
    cancelled: int
    """Annotations that a person skipped; they give no events."""
    skipped_inputs: tuple[Skipped, ...]
    errors: tuple[IsolatedError, ...] = ()
    """Days whose log cannot be read or written; the next pull reads their events again."""


def load_pull_state(lake: Lake, project: Project) -> PullState:
    """Return how far the project was read."""
    return _parse_state(lake, lake.read_pointer(catalogue.LABEL_STUDIO_PULLED.name(project.key)))


def _parse_state(lake: Lake, pointer: Pointer | None) -> PullState:
    if pointer is None:
        return PullState(_BEGINNING, (), (), {})
    value = pointer.value
    skipped_inputs = read_skipped_inputs(lake, value["set_aside"])
    recent = lake.get_json(value["recent"]) if value.get("recent") else {}
    held_since = datetime.fromisoformat(value["held_since"]) if "held_since" in value else None
    return PullState(datetime.fromisoformat(value["until"]), tuple(value["days"]), skipped_inputs, recent, held_since)


def list_pulled_days(lake: Lake, errors: list[IsolatedError] | None = None) -> tuple[str, ...]:
    """Return all days that ever got an event from any project, sorted.

    With `errors`, a project whose pointer cannot be read is added to it and does not hide the others.
    """
    days: set[str] = set()
    pulled = catalogue.LABEL_STUDIO_PULLED.read(lake)
    for name in pulled.found:
        with isolate(name, errors):
            if (pointer := pulled.read_pointer(name)) is not None:
                days.update(pointer.value["days"])
    return tuple(sorted(days))


def pull_events(
    lake: Lake, server: LabelStudio, project: Project, settings: LabelStudioSettings, now: datetime
) -> PullReport:
    """Append the annotations submitted since the last pull to the event log.

    Each annotation is one event: `unusable` with its reasons, `confirmed` where the text is the one shown, else
    `corrected`. Its time is that of its last change, so an edit is a later event. An invalid annotation is skipped with
    its reason; the others are kept.

    Raises:
        ServiceError: The server cannot be reached or refuses. Pull again.
        PointerMovedError: Another process pulled at the same time. Pull again.
    """
    pointer = lake.read_pointer(catalogue.LABEL_STUDIO_PULLED.name(project.key))
    before = _parse_state(lake, pointer)
    parser = _TaskParser(lake, project, server.list_users, now)
    since = max(_BEGINNING, before.until - timedelta(seconds=settings.overlap_s))
    days: set[str] = set()
    errors: list[IsolatedError] = []
    until, added = before.until, 0
    events: dict[str, list[AnnotationEvent]] = defaultdict(list)
    recent: dict[str, tuple[datetime, str]] = {}
    missing_at: datetime | None = None
    for moment, body in server.iterate_changed_tasks(project.id, since, settings.page_size):
        if moment.updated_at <= now + _MAX_CLOCK_LEAD:
            until = max(until, moment.updated_at)
        digest, problems_before = _digest_task(body), len(parser.problems)
        if digest is None or digest != before.recent.get(str(moment.id)):
            for event in parser.parse_task(moment.id, body):
                events[event.day].append(event)
            if parser.is_segment_missing and missing_at is None:
                missing_at = moment.updated_at
        if digest is not None and len(parser.problems) == problems_before:  # each pull reports an invalid task
            recent[str(moment.id)] = (moment.updated_at, digest)
        if sum(map(len, events.values())) >= _MAX_BUFFERED_EVENTS:
            added += _flush_events(lake, events, days, errors)
    added += _flush_events(lake, events, days, errors)
    if pointer is not None and not parser.tasks:
        return PullReport(0, 0, (), 0, ())
    if errors:
        until, recent = before.until, {}
    held_since = None if missing_at is None else before.held_since or now.astimezone(UTC)
    if missing_at is not None and held_since is not None and now - held_since < _LONGEST_HOLD:
        until = min(until, missing_at)
    overlap_start = until - timedelta(seconds=settings.overlap_s)
    known = {task: digest for task, (updated_at, digest) in recent.items() if updated_at >= overlap_start}
    problems = tuple(parser.problems)
    unchanged = [each for each in before.skipped_inputs if each.file not in parser.tasks]
    value = {
        "url": project.url,
        "project": project.id,
        "until": until.astimezone(UTC).isoformat(),
        "days": sorted({*before.days, *parser.days}),
        "set_aside": put_skipped_inputs(lake, [*unchanged, *problems]),
        "recent": lake.put_json(known),
        **({} if held_since is None else {"held_since": held_since.isoformat()}),
    }
    lake.move_pointer(catalogue.LABEL_STUDIO_PULLED.name(project.key), value, pointer)
    return PullReport(len(parser.tasks), added, tuple(sorted(days)), parser.cancelled, problems, tuple(errors))


def _digest_task(body: Any) -> str | None:
    """Return a digest of a task with its annotations; None for values that JSON does not have."""
    try:
        return compute_digest(body)[:16]
    except (ValueError, RecursionError):  # NaN, or a part of a character
        return None


def _flush_events(
    lake: Lake, events: dict[str, list[AnnotationEvent]], days: set[str], errors: list[IsolatedError]
) -> int:
    """Append the buffered events; return how many were new, and add their days to `days` or `errors`."""
    added = 0
    for day in sorted(events):
        new = 0
        with isolate(day, errors):
            new = _append_with_retries(lake, day, events[day])
        added += new
        if new:
            days.add(day)
    events.clear()
    return added


def _append_with_retries(lake: Lake, day: str, events: list[AnnotationEvent]) -> int:
    for attempt in range(1, _MAX_APPEND_ATTEMPTS + 1):
        try:
            return append_events(lake, day, events, {}).added
        except PointerMovedError:  # another source appended to the same day
            if attempt == _MAX_APPEND_ATTEMPTS:
                raise
    return 0


class _TaskParser:
    """Parses the tasks of one pull; `problems` receives the invalid ones."""

    def __init__(
        self, lake: Lake, project: Project, list_users: Callable[[], Mapping[int, str]], now: datetime
    ) -> None:
        self._lake = lake
        self._origin = f"{LABEL_STUDIO}:{project.id}"
        self._list_users = list_users
        self._newest = now + _MAX_CLOCK_LEAD
        self._sessions: dict[str, Mapping[str, str]] = {}
        self.tasks: set[str] = set()
        self.days: set[str] = set()
        self.problems: list[Skipped] = []
        self.cancelled = 0
        self.is_segment_missing = False
        """Whether the last task is of a segment that the lake lacks and that was not erased."""

    @cached_property
    def _erased_segments(self) -> frozenset[str]:
        return read_tombstones(self._lake).segments

    @cached_property
    def _blind_segments(self) -> frozenset[str]:
        return frozenset(load_blind_requests(self._lake))

    @cached_property
    def _users(self) -> Mapping[int, str]:
        return self._list_users()

    def parse_task(self, number: int, body: Any) -> Iterable[AnnotationEvent]:
        """Return the events of one task."""
        name = f"task {number}"
        self.is_segment_missing = False
        self.tasks.add(name)
        if isinstance(body, dict) and body.get("annotations") == []:
            return []
        try:
            task = ChangedTask.model_validate(body)
        except ValidationError as error:
            self._skip(name, describe_validation_error(error, "the task"))
            return []
        data = task.data
        session = self._load_sessions(data.day).get(data.segment_id)
        if session is None:
            self.is_segment_missing = data.segment_id not in self._erased_segments
            self._skip(name, f"segment {data.segment_id} of {data.day} is not in the lake")
            return []
        events = []
        for each in task.annotations:
            try:
                if (event := self._build_event(data, session, each)) is not None:
                    events.append(event)
            except ValidationError as error:
                self._skip(name, describe_validation_error(error, "the task"))
            except InputError as error:
                self._skip(name, str(error))
        if events:
            self.days.add(data.day)
        return events

    def _build_event(self, data: TaskData, session_id: str, body: Any) -> AnnotationEvent | None:
        annotation = Annotation.model_validate(body)
        if annotation.was_cancelled:
            self.cancelled += 1
            return None
        if annotation.updated_at > self._newest:
            raise InputError(f"annotation {annotation.id} has a time in the future: {annotation.updated_at}")
        text, reasons = _extract_answer(annotation)
        if is_blank(text) and not reasons:
            raise InputError(f"annotation {annotation.id} has neither text nor a reason why it is unusable")
        status: Status = "unusable" if reasons else "confirmed" if text == data.hint else "corrected"
        author = annotation.updated_by or annotation.completed_by
        return AnnotationEvent(
            segment_id=data.segment_id,
            session_id=session_id,
            day=data.day,
            text=text,
            status=status,
            reason=",".join(reasons),
            person="" if author is None else self._users.get(author.id) or author.email or str(author.id),
            source=LABEL_STUDIO,
            created_at=annotation.updated_at,
            seen_text=data.hint or None,
            model_version=data.model_version,
            attempt=data.attempt,
            is_blind=self._is_blind(data),
        )

    def _is_blind(self, data: TaskData) -> bool:
        """Return whether a queue issued the segment without a text, and its task shows none."""
        is_shown_text = bool(data.hint or data.model_version or data.attempt)
        return data.segment_id in self._blind_segments and not is_shown_text

    def _load_sessions(self, day: str) -> Mapping[str, str]:
        """Return segment → session of a day from the lake; the session that the server returns is not trusted."""
        if day not in self._sessions:
            recordings = load_day(self._lake, day)
            columns = ["segment_id", "session_id"]
            rows = read_segment_metadata(self._lake, recordings.metadata, columns) if recordings else ()
            self._sessions[day] = {row["segment_id"]: row["session_id"] for row in rows}
        return self._sessions[day]

    def _skip(self, name: str, reason: str) -> None:
        self.problems.append(Skipped(self._origin, name, reason))


def _extract_answer(annotation: Annotation) -> tuple[str, tuple[str, ...]]:
    """Return the text as typed, and the reasons why the segment is unusable; texts of regions are in the order of time."""
    texts: list[tuple[float, str]] = []
    reasons: set[str] = set()
    for each in annotation.result:
        field = each.get("from_name") if isinstance(each, dict) else None
        if field == "transcription":
            value = TextAreaResult.model_validate(each).value
            texts += [(value.start, text) for text in ([value.text] if isinstance(value.text, str) else value.text)]
        elif field == "unusable":
            reasons.update(ChoicesResult.model_validate(each).value.choices)
    ordered = sorted(texts, key=lambda each: each[0])
    return " ".join(text for _, text in ordered), tuple(sorted(reasons))
