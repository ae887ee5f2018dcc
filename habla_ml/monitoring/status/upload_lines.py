"""Lines about what the service received: clips and corrections that wait, and those that were set aside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from habla_ml.inbox.database import open_existing_database
from habla_ml.inbox.unread_clips import count_clips
from habla_ml.inbox.unread_texts import count_data_points
from habla_ml.monitoring.finding import Finding
from habla_ml.monitoring.status.inputs import StatusInputs, format_count, format_duration
from habla_ml.recordings.uploads import strip_values

if TYPE_CHECKING:
    from habla_ml.inbox.unread_clips import ClipCounts
    from habla_ml.inbox.unread_texts import DataPointCounts

_MOST_HOURS_SHOWN: Final = 3


def describe_waiting_uploads(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield the received clips that are not in the lake, and the corrections of devices that wait; none without a service."""
    with open_existing_database(inputs.settings) as database:
        if database is None:
            return
        clips, points = count_clips(database), count_data_points(database)
    yield _describe_clips(clips, inputs)
    if points.without_clip or points.waiting_for_consent:
        found = f"{format_count(points.without_clip, 'correction')} of devices without a clip in the lake"
        consent = f"; {points.waiting_for_consent} wait for a consent" if points.waiting_for_consent else ""
        values = {"without_clip": points.without_clip, "waiting_for_consent": points.waiting_for_consent}
        yield Finding("uploaded corrections", "ok", f"{found}{consent}", "", values)


def _describe_clips(clips: ClipCounts, inputs: StatusInputs) -> Finding:
    bound = inputs.settings.monitoring.loop.most_hours_waiting
    consent = f"; {clips.waiting_for_consent} wait for a consent" if clips.waiting_for_consent else ""
    values: dict[str, str | int | float | None] = {
        "waiting": clips.unread,
        "waiting_for_consent": clips.waiting_for_consent,
    }
    if clips.oldest_unread_at is None:
        return Finding("uploads", "ok", f"no received clip waits for its ingest{consent}", "", values)
    seconds = (inputs.now - clips.oldest_unread_at).total_seconds()
    is_late = seconds > bound * 3600
    found = f"{format_count(clips.unread, 'received clip')} not in the lake yet; the oldest waits {format_duration(seconds)}"
    step = "look at the daemon and the failed runs below" if is_late else ""
    values["hours"] = round(seconds / 3600, 2)
    return Finding("uploads", "wrong" if is_late else "ok", f"{found}{consent}", step, values)


def describe_set_aside_uploads(inputs: StatusInputs) -> Iterator[Finding]:
    """Yield how many received clips and corrections cannot be used, by hour of receipt; none without a service."""
    with open_existing_database(inputs.settings) as database:
        if database is None:
            return
        clips, points = count_clips(database), count_data_points(database)
    yield _describe_set_aside(clips, points)


def _describe_set_aside(clips: ClipCounts, points: DataPointCounts) -> Finding:
    total = sum(clips.set_aside.values())
    values = {"clips": total, "corrections": points.set_aside}
    if not total and not points.set_aside:
        return Finding("uploads set aside", "ok", "none", "", values)
    found = []
    if total:
        hours = list(clips.set_aside.items())
        listed = ", ".join(f"{hour} ({count})" for hour, count in hours[:_MOST_HOURS_SHOWN])
        more = f" and {len(hours) - _MOST_HOURS_SHOWN} more hours" if len(hours) > _MOST_HOURS_SHOWN else ""
        found.append(f"{format_count(total, 'clip')}: {listed}{more}; for example one {strip_values(clips.example)}")
    if points.set_aside:
        found.append(f"{format_count(points.set_aside, 'correction')} in another language or of an unknown status")
    step = "the table `reasons` of `uploaded_clips` counts the clips of an hour" if total else ""
    return Finding("uploads set aside", "note", "; ".join(found), step, values)
