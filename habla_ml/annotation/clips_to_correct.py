"""The clips of the review queue that one person is to correct on the page.

A person gets the clips in the order of the queue, without those that this person has answered or skipped, that enough
others have answered in any source, that somebody else has on the screen, or whose speaker has not consented. The text of
a blind clip is left out here, so it never leaves the process.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from habla_ml.annotation.consent_filter import AnnotationConsentFilter, open_consent_filter
from habla_ml.annotation.event_log import find_events_id, read_valid_events
from habla_ml.annotation.review_queue import ReviewItem, ReviewQueue, load_queue
from habla_ml.annotation.sources.page import PAGE
from habla_ml.consent.admission import load_consents
from habla_ml.inbox.answers import Answer, choose_latest, list_named_speakers, read_histories
from habla_ml.inbox.database import Database
from habla_ml.inbox.hand_outs import HandOut, find_reservations, save_hand_outs
from habla_ml.lake import Lake, PointerReader, catalogue
from habla_ml.names import canonical_name
from habla_ml.recordings.days import load_day
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER
from habla_ml.settings import Settings

_EVENT_COLUMNS: Final = ("segment_id", "person", "source", "round", "is_blind")


@dataclass(frozen=True)
class Correction:
    """A deployment at one time, as one person works on it."""

    lake: Lake
    database: Database
    settings: Settings
    person: str
    now: datetime

    @property
    def person_key(self) -> str:
        """The name by which answers of the same person are known to be one person's."""
        return canonical_name(self.person)

    @cached_property
    def consent_filter(self) -> AnnotationConsentFilter:
        """The present consents; raises `InputError` where they cannot be read."""
        return open_consent_filter(self.lake, load_consents(self.settings, self.now))

    def is_allowed(self, day: str, session_id: str, segment_id: str) -> bool:
        """Return whether the lake has the recording, and nothing forbids to annotate it."""
        if not self.consent_filter.has_recording(day, segment_id):
            return False
        return self.consent_filter.explain_refusal(day, session_id, segment_id, ()) is None


@dataclass(frozen=True)
class ClipToCorrect:
    """A clip for one person."""

    hand_out: HandOut
    item: ReviewItem
    """Without a text where it is blind."""
    speakers: tuple[str, ...]
    """The speakers of its session, also those that people named on the page."""


@dataclass(frozen=True)
class WeekProgress:
    """How far the queue is, for one person and in all."""

    clips: int
    """Clips in the queue."""
    answered: int
    """How many of them have all their answers."""
    minutes: float
    """Minutes of audio in the queue; a segment for two people counts twice."""
    answered_minutes: float


@dataclass
class _Answers:
    """Who has answered the segments of a queue, in the page's database and in the log of all sources."""

    correction: Correction
    queue: ReviewQueue
    _days: dict[str, dict[str, list[Mapping[str, Any]]]] = field(default_factory=dict)

    @cached_property
    def histories(self) -> dict[str, list[Answer]]:
        return read_histories(self.correction.database, [each.segment_id for each in self.queue.items])

    @cached_property
    def pointers(self) -> PointerReader:
        """The logs of all days of the queue, by one listing: a queue can have a hundred days, and the lake be far away."""
        return catalogue.ANNOTATIONS.read(self.correction.lake, {each.day for each in self.queue.items})

    def find_latest(self, item: ReviewItem) -> dict[str, Answer]:
        latest = choose_latest(self.histories.get(item.segment_id, ()))
        return {key: each for key, each in latest.items() if each.attempt >= item.attempt}

    def find_authors(self, item: ReviewItem) -> set[str]:
        """Return who has answered an item; for a blind one only those who saw no text."""
        found = {key for key, each in self.find_latest(item).items() if each.is_answer}
        for event in self._read_day(item.day).get(item.segment_id, ()):
            is_answer = event["round"] >= item.attempt and (not item.is_blind or event["is_blind"])
            if is_answer and event["source"] != PAGE:
                found.add(canonical_name(event["person"] or event["source"]))
        return found

    def _read_day(self, day: str) -> dict[str, list[Mapping[str, Any]]]:
        if day not in self._days:
            events = find_events_id(self.pointers, day)
            rows = read_valid_events(self.correction.lake, events, _EVENT_COLUMNS).to_pylist() if events else []
            found: dict[str, list[Mapping[str, Any]]] = {}
            for row in rows:
                found.setdefault(row["segment_id"], []).append(row)
            self._days[day] = found
        return self._days[day]


def hand_out_clips(correction: Correction, most: int, excluded: Collection[str] = ()) -> list[ClipToCorrect]:
    """Return the next clips of the queue for a person, and reserve them; `excluded` are segments that the browser has.

    Raises `InputError` if the consents cannot be read, and `LakeError` if the lake or the database cannot.
    """
    queue = load_queue(correction.lake)
    if queue is None:
        return []
    answers = _Answers(correction, queue)
    reserved = find_reservations(
        correction.database, [each.segment_id for each in queue.items], correction.person_key, correction.now
    )
    chosen = list[ReviewItem]()
    for item in queue.items:
        if len(chosen) == most:
            break
        others = reserved.get(item.segment_id, set())
        if item.segment_id not in excluded and _is_open(correction, item, answers, others):
            chosen.append(_hide_text(item))
    speakers = _find_speakers(correction, chosen)
    given = save_hand_outs(correction.database, [_make_hand_out(correction, each) for each in chosen])
    return [
        ClipToCorrect(each, item, speakers.get((item.day, item.session_id), ()))
        for each, item in zip(given, chosen, strict=True)
    ]


def measure_progress(correction: Correction) -> WeekProgress:
    """Return how far the present queue is; raises `LakeError` if the lake or the database cannot be read."""
    queue = load_queue(correction.lake)
    if queue is None:
        return WeekProgress(0, 0, 0.0, 0.0)
    answers = _Answers(correction, queue)
    clips, work_s = 0, 0.0
    for item in queue.items:
        people = max(1, item.blind_people)
        found = min(people, len(answers.find_authors(item)))
        clips += found == people
        work_s += item.duration_s * found
    return WeekProgress(len(queue.items), clips, queue.minutes, work_s / 60)


def _is_open(correction: Correction, item: ReviewItem, answers: _Answers, reserved: set[str]) -> bool:
    if correction.person_key in answers.find_latest(item):
        return False
    authors = answers.find_authors(item)
    if correction.person_key in authors or len(authors | reserved) >= max(1, item.blind_people):
        return False
    return correction.is_allowed(item.day, item.session_id, item.segment_id)


def _hide_text(item: ReviewItem) -> ReviewItem:
    return replace(item, hint="", model_version="") if item.is_blind else item


def _make_hand_out(correction: Correction, item: ReviewItem) -> HandOut:
    return HandOut(
        hand_out_id=str(uuid.uuid4()),
        person_key=correction.person_key,
        segment_id=item.segment_id,
        session_id=item.session_id,
        day=item.day,
        seen_text=None if item.is_blind else item.hint,
        model_version=item.model_version,
        attempt=item.attempt,
        is_blind=item.is_blind,
        handed_out_at=correction.now,
    )


def _find_speakers(correction: Correction, items: Sequence[ReviewItem]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return day and session → the speakers of the session, in alphabetical order."""
    sessions = {(each.day, each.session_id) for each in items}
    found = {key: set(list_named_speakers(correction.database, *key)) for key in sessions}
    for day in sorted({each.day for each in items}):
        for row in _read_speakers(correction.lake, day):
            if (names := found.get((day, row["session_id"]))) is not None and row["speaker"]:
                names.add(row["speaker"])
    return {key: tuple(sorted(names - {UNKNOWN_SPEAKER})) for key, names in found.items()}


def _read_speakers(lake: Lake, day: str) -> Iterable[Mapping[str, Any]]:
    held = load_day(lake, day)
    return () if held is None else read_segment_metadata(lake, held.metadata, ["session_id", "speaker"])
