"""The corrections that devices send with their clips (data points), from the service's database.

A data point is read once its clip is a segment. Its text is kept as typed; the person is the contributor of the clip,
by pseudonym. A correction cannot be made after its receipt, nor before the recording or `recordings.first_day`: such a
time is from a wrong clock, and the time of receipt is used, so that the newest correction counts. A data point in
another language than the recogniser's is set aside, and one on an erased clip is deleted.

The modules of the database are imported inside functions, so that the registry of sources loads quickly.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, cast, get_args

from habla_ml.annotation.events import AnnotationEvent, AnswerStatus
from habla_ml.annotation.inbox_texts import SENSOR, append_admitted_events, describe_days
from habla_ml.annotation.source import AnnotationSource, ForgetReport, SourceChanges, SourceContext
from habla_ml.consent.admission import load_consents
from habla_ml.recordings.day_range import is_credible_time
from habla_ml.recordings.upload_names import get_upload_session_id

if TYPE_CHECKING:
    from habla_ml.inbox.unread_texts import UnreadDataPoint
    from habla_ml.settings import Settings

UPLOADS: Final = "uploads"
"""Name of the source, in its events too."""


def find_changes(context: SourceContext) -> SourceChanges:
    """Return the days that have uploaded clips, with those whose data points are unread.

    Costs a look into an index for each day and each data point that is unread. Raises `LakeError` if the database
    cannot be read, or `InputError` if a data point waits for a consent and the register cannot be read.
    """
    from habla_ml.inbox.database import open_existing_database
    from habla_ml.inbox.unread_clips import list_upload_days
    from habla_ml.inbox.unread_texts import (
        delete_texts_of_erased_clips,
        find_days_with_data_points,
        requeue_waiting_data_points,
    )

    with open_existing_database(context.settings) as database:
        if database is None:
            return SourceChanges(())
        delete_texts_of_erased_clips(database)
        requeue_waiting_data_points(database, load_consents(context.settings, context.now).unchanged_since)
        return describe_days(list_upload_days(database), find_days_with_data_points(database))


def collect(context: SourceContext, day: str) -> None:
    """Append the unread data points of one day to the log, with the errors of `append_admitted_events`."""
    from habla_ml.inbox.database import open_existing_database
    from habla_ml.inbox.unread_texts import close_data_points, read_data_points

    with open_existing_database(context.settings) as database:
        found = [] if database is None else read_data_points(database, day)
        if database is None or not found:
            return
        problems = {each.key: _find_problem(each, context.settings.evaluation.language) for each in found}
        usable = {each.key: each for each in found if not problems[each.key]}
        sessions = {key: get_upload_session_id(each.clip_device_id, each.session) for key, each in usable.items()}
        events = {key: _build_event(each, sessions[key], day, context) for key, each in usable.items()}
        labels = {key: each.contributor for key, each in usable.items()}
        done = append_admitted_events(context, day, events, labels)
        close_data_points(database, done.appended, collected_at=context.now)
        close_data_points(database, done.waiting, awaited_consents=done.consents)
        for problem in sorted({each for each in problems.values() if each}):
            close_data_points(database, [key for key, each in problems.items() if each == problem], set_aside=problem)


def forget(_context: SourceContext, _segment_ids: Collection[str]) -> ForgetReport:
    """Do nothing: an erasure erases the received clips itself, with the data points on them."""
    return ForgetReport()


def _find_problem(point: UnreadDataPoint, language: str) -> str:
    """Return why a data point can be no annotation; empty if it can."""
    if point.status not in get_args(AnswerStatus):
        return f"has a status that is none of {', '.join(get_args(AnswerStatus))}"
    spoken = point.language.replace("_", "-").partition("-")[0].lower()
    if spoken and spoken != language:
        return f"is in another language than {language}"
    return ""


def _is_credible(point: UnreadDataPoint, settings: Settings) -> bool:
    """Return whether the time of a correction can be right; that of the recording is from the same clock."""
    is_before_recording = (
        point.recorded_at is not None
        and is_credible_time(point.recorded_at, point.received_at, settings)
        and point.corrected_at < point.recorded_at
    )
    return not is_before_recording and is_credible_time(point.corrected_at, point.received_at, settings)


def _build_event(point: UnreadDataPoint, session_id: str, day: str, context: SourceContext) -> AnnotationEvent:
    return AnnotationEvent(
        segment_id=point.segment_id,
        session_id=session_id,
        day=day,
        text=point.text,
        status=cast("AnswerStatus", point.status),
        reason=point.reason,
        person=point.contributor or "",
        source=UPLOADS,
        created_at=min(point.corrected_at if _is_credible(point, context.settings) else point.received_at, context.now),
        seen_text=point.seen_text,
        model_version="" if point.seen_text is None else point.model_version,
        is_blind=False,  # no review queue asked for it
    )


SOURCE: Final = AnnotationSource(UPLOADS, SENSOR, find_changes, collect, forget)
