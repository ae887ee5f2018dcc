"""Answers on the page: save one, take one back, and show what others answered.

Each person types a blind segment from the audio alone, so nobody gets the text of another person for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from habla_ml.annotation.clips_to_correct import Correction
from habla_ml.annotation.review_queue import load_blind_requests
from habla_ml.damaged_text import is_blank
from habla_ml.errors import InputError
from habla_ml.inbox.answers import (
    Answer,
    choose_latest,
    count_answered_segments,
    find_answer,
    make_undo,
    read_history,
    save_answer,
)
from habla_ml.inbox.hand_outs import KEPT_FOR, HandOut
from habla_ml.names import canonical_name

UnusableReason = Literal["unintelligible", "no_speech", "overlapping", "other_language", "cut_off", "private"]
_NO_TIME: Final = timedelta()
GivenStatus = Literal["corrected", "confirmed", "unusable", "skipped"]


@dataclass(frozen=True)
class GivenAnswer:
    """What the browser sends."""

    answer_id: str
    status: GivenStatus
    text: str
    reason: str
    speaker: str
    """Who speaks, where the person changed it; else empty."""
    age: timedelta
    """Time since the person answered, by the clock of the browser, so that a wrong clock does not matter."""


@dataclass(frozen=True)
class SavedAnswer:
    """A stored answer, and the different ones of others; these are hidden for a blind segment."""

    answer: Answer
    others: tuple[Answer, ...]


def save_page_answer(correction: Correction, clip: HandOut, given: GivenAnswer) -> SavedAnswer:
    """Store the answer to a clip that the person got; a repeated request gives the same result.

    Raises:
        InputError: The id has another answer.
        LakeError: The database cannot be used; repeat the request.
    """
    saved = save_answer(correction.database, _build_answer(correction, clip, given))
    return SavedAnswer(saved, tuple(_find_differing(correction, saved)))


def take_answer_back(correction: Correction, answer_id: str, undo_id: str) -> Answer | None:
    """Take back an answer of this person with all earlier ones on the segment; None if the person gave no such answer.

    Raises the errors of `save_page_answer`.
    """
    undone = find_answer(correction.database, answer_id)
    if undone is None or canonical_name(undone.person) != correction.person_key:
        return None
    return save_answer(correction.database, make_undo(undone, undo_id, correction.now))


def list_history(correction: Correction, segment_id: str) -> list[Answer]:
    """Return what was answered on a segment, by time; of a blind segment only this person's own answers."""
    history = read_history(correction.database, segment_id)
    if segment_id not in load_blind_requests(correction.lake) and not any(each.is_blind for each in history):
        return history
    return [each for each in history if canonical_name(each.person) == correction.person_key]


def count_week(correction: Correction) -> int:
    """Return on how many segments the person has answered since Monday, in the time zone of the settings."""
    return count_answered_segments(
        correction.database, correction.person, find_monday(correction.now.astimezone(correction.settings.zone))
    )


def find_monday(moment: datetime) -> datetime:
    """Return when the week of `moment` began, in its time zone."""
    day = moment - timedelta(days=moment.weekday())
    return day.replace(hour=0, minute=0, second=0, microsecond=0)


def check_answer(clip: HandOut, given: GivenAnswer) -> None:
    """Raise `InputError` if the answer does not fit the clip."""
    if given.status == "corrected" and is_blank(given.text):
        raise InputError("the text is empty; type what is said, or say why the clip is unusable")
    if given.status == "confirmed" and not clip.seen_text:
        raise InputError("no text was shown that could be confirmed; type what is said")
    if (given.status == "unusable") != bool(given.reason):
        raise InputError("a reason belongs to an unusable clip, and to no other; add or remove it")


def _build_answer(correction: Correction, clip: HandOut, given: GivenAnswer) -> Answer:
    check_answer(clip, given)
    seen, status, text = clip.seen_text or "", str(given.status), given.text
    if status in ("corrected", "confirmed") and seen:
        text = seen if status == "confirmed" else text
        status = "confirmed" if text == seen else "corrected"
    elif status in ("unusable", "skipped"):
        text = ""
    return Answer(
        answer_id=given.answer_id,
        segment_id=clip.segment_id,
        session_id=clip.session_id,
        day=clip.day,
        text=text,
        status=status,
        reason=given.reason,
        speaker="" if status == "skipped" else " ".join(given.speaker.split()),
        person=correction.person,
        created_at=correction.now - min(max(given.age, _NO_TIME), KEPT_FOR),
        seen_text=clip.seen_text,
        model_version=clip.model_version,
        attempt=clip.attempt,
        is_blind=clip.is_blind,
    )


def _find_differing(correction: Correction, saved: Answer) -> list[Answer]:
    """Return the standing answers of others to the same request that differ from a saved one."""
    if saved.is_blind or not saved.is_answer:
        return []
    latest = choose_latest(read_history(correction.database, saved.segment_id))
    return [
        each
        for key, each in latest.items()
        if key != correction.person_key
        and each.is_answer
        and not each.is_blind
        and each.attempt == saved.attempt
        and (each.text, each.status == "unusable") != (saved.text, saved.status == "unusable")
    ]
