"""The answers on the service's page, from its database.

An answer counts as blind only if the page showed no text and a review queue issued the segment without one. A speaker that
it names must have consented, like the speaker of the recording. The modules of the database are imported inside functions,
so that the registry of sources loads quickly.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Final, cast, get_args

from habla_ml.annotation.events import AnnotationEvent, Status
from habla_ml.annotation.inbox_texts import SENSOR, append_admitted_events, describe_days
from habla_ml.annotation.review_queue import load_blind_requests
from habla_ml.annotation.source import AnnotationSource, ForgetReport, SourceChanges, SourceContext
from habla_ml.consent.admission import load_consents

if TYPE_CHECKING:
    from habla_ml.inbox.unread_texts import UnreadAnswer

PAGE: Final = "page"
"""Name of the source, in its events too."""


def find_changes(context: SourceContext) -> SourceChanges:
    """Return the days that have answers, with those whose answers are unread.

    Costs a look into an index for each day and each unread answer. Raises `LakeError` if the database cannot be read, or
    `InputError` if an answer waits for a consent and the register cannot be read.
    """
    from habla_ml.inbox.database import open_existing_database
    from habla_ml.inbox.unread_texts import find_days_with_answers, list_answered_days, requeue_waiting_answers

    with open_existing_database(context.settings) as database:
        if database is None:
            return SourceChanges(())
        requeue_waiting_answers(database, load_consents(context.settings, context.now).unchanged_since)
        return describe_days(list_answered_days(database), find_days_with_answers(database))


def collect(context: SourceContext, day: str) -> None:
    """Append the unread answers of one day to the log, with the errors of `append_admitted_events`."""
    from habla_ml.inbox.database import open_existing_database
    from habla_ml.inbox.unread_texts import close_answers, read_answers

    with open_existing_database(context.settings) as database:
        found = [] if database is None else read_answers(database, day)
        if database is None or not found:
            return
        blind = load_blind_requests(context.lake)
        events = {
            each.answer_id: _build_event(each, day, each.segment_id in blind, context.now)
            for each in found
            if _is_event(each)
        }
        done = append_admitted_events(context, day, events, {key: each.speaker for key, each in events.items()})
        waiting = set(done.waiting)
        read = [each.answer_id for each in found if each.answer_id not in waiting]
        close_answers(database, read, collected_at=context.now)
        close_answers(database, done.waiting, awaited_consents=done.consents)


def forget(context: SourceContext, segment_ids: Collection[str]) -> ForgetReport:
    """Delete the answers on these segments."""
    from habla_ml.inbox.database import open_existing_database
    from habla_ml.inbox.unread_texts import delete_answers_of

    with open_existing_database(context.settings) as database:
        deleted = 0 if database is None else delete_answers_of(database, segment_ids)
    return ForgetReport(f"{deleted} answers of the page" if deleted else "")


def _is_event(answer: UnreadAnswer) -> bool:
    """Return whether an answer says something of the text; a skipped segment has none."""
    return answer.status in get_args(Status)


def _build_event(answer: UnreadAnswer, day: str, is_issued_blind: bool, now: datetime) -> AnnotationEvent:
    seen_text = None if answer.status == "withdrawn" else answer.seen_text
    return AnnotationEvent(
        segment_id=answer.segment_id,
        session_id=answer.session_id,
        day=day,
        text=answer.text,
        status=cast("Status", answer.status),
        reason=answer.reason,
        person=answer.person,
        source=PAGE,
        created_at=min(answer.created_at, now),  # a browser's clock that is ahead must not override later answers
        seen_text=seen_text,
        model_version="" if seen_text is None else answer.model_version,
        attempt=answer.attempt,
        is_blind=answer.is_blind and is_issued_blind and answer.seen_text is None,
        speaker=answer.speaker,
    )


SOURCE: Final = AnnotationSource(PAGE, SENSOR, find_changes, collect, forget)
