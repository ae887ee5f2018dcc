"""Bring the clips that the service received into the days of their recording, by UTC hour of receipt.

A clip is decoded in the jailed child process, whatever its format, and becomes a segment as Habla's are, under the same
admission. The inbox notes which clips are in the lake only once their day is published, so that an interrupted hour is
read again and gives the same objects. A clip that cannot be used is set aside with a reason. One whose contributor has
yet to consent waits, undecoded. One of a voice that was erased or withdrawn is erased from the inbox.

A clip is of the local day of its recording. A date that is missing, later than the receipt, or before
`recordings.first_day` is from no clock that can be believed: the clip is then of the day of its receipt, and when it was
recorded is unknown.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Final

from habla_ml.audio import AudioDecoder
from habla_ml.consent.admission import Admission, load_consents, open_admission
from habla_ml.errors import InputError, ObjectMissingError, PointerMovedError
from habla_ml.inbox.clip_files import require_clip_files
from habla_ml.inbox.database import Database
from habla_ml.inbox.erased_clips import erase_clips
from habla_ml.inbox.unread_clips import UnreadClip, mark_ingested, mark_waiting, read_unread_clips, set_aside
from habla_ml.lake import Lake, Store
from habla_ml.recordings.day_range import is_credible_time
from habla_ml.recordings.day_reader import SegmentOrigin, build_segment
from habla_ml.recordings.days import publish_day
from habla_ml.recordings.metadata import SegmentHint
from habla_ml.recordings.segments import RecordedSegment, segment_id
from habla_ml.recordings.upload_names import UPLOAD_SOURCE, get_upload_session_id
from habla_ml.settings import Settings

_MOST_ATTEMPTS: Final = 3
_QUOTED_OR_NUMBER: Final = re.compile(r"b?'[^']*'|b?\"[^\"]*\"|(?<![A-Za-z])\d+(?:[.,:-]\d+)*(?![A-Za-z])")


@dataclass
class IngestedHour:
    """What became of the clips of an hour that were read now."""

    hour: str
    segments: int = 0
    seconds: float = 0.0
    days: dict[str, str] = field(default_factory=dict)
    """Day of recording → object id of its rows with audio, for the days that got clips."""
    set_aside: int = 0
    refused: int = 0
    """Clips of a voice that was erased or whose consent was withdrawn; they are erased from the inbox."""
    waiting: int = 0
    """Clips whose contributor has yet to consent."""
    dated_by_receipt: int = 0
    """Segments without a credible date of recording."""


def strip_values(reason: str) -> str:
    """Return a reason without quoted values and numbers, so that no byte of a clip is shown."""
    return _QUOTED_OR_NUMBER.sub("…", reason)


def count_reasons(reasons: Iterable[str]) -> dict[str, int]:
    """Return how often each reason without its values occurs, the most frequent first."""
    return dict(Counter(map(strip_values, reasons)).most_common())


def ingest_hour(
    hour: str, lake: Lake, database: Database, store: Store, settings: Settings, now: datetime
) -> IngestedHour:
    """Publish the unread clips of a UTC hour of receipt, such as `2026-11-29T06`, in the days of their recording.

    The work is proportional to the unread clips, plus one small shard of each of their days. Raises `InputError`
    if the register of consents cannot be read, or `LakeError` if the lake or the inbox cannot be read or written; the
    days that were published before stay.
    """
    ingested = IngestedHour(hour)
    by_day: dict[str, list[_DatedClip]] = defaultdict(list)
    for clip in read_unread_clips(database, hour):
        dated = _DatedClip.date(clip, settings)
        by_day[dated.day].append(dated)
    for day, clips in sorted(by_day.items()):
        outcome = _publish_clips(day, clips, lake, store, settings, now)
        mark_ingested(database, outcome.segment_ids, day)
        set_aside(database, outcome.set_aside)
        mark_waiting(database, outcome.waiting, outcome.consents)
        erase_clips(database, store, outcome.refused, now)
        outcome.add_to(ingested)
    return ingested


@dataclass(frozen=True)
class _DatedClip:
    """A clip, its segment's place in the lake, and when it was recorded."""

    clip: UnreadClip
    day: str
    recorded_at: datetime | None
    session_id: str

    @classmethod
    def date(cls, clip: UnreadClip, settings: Settings) -> _DatedClip:
        """Return the clip with the day of its recording, or of its receipt where its date cannot be believed."""
        session_id = get_upload_session_id(clip.device_id, clip.session)
        recorded_at = clip.recorded_at
        if recorded_at is not None and is_credible_time(recorded_at, clip.received_at, settings):
            return cls(clip, _find_local_day(recorded_at, settings), recorded_at, session_id)
        return cls(clip, _find_local_day(clip.received_at, settings), None, session_id)

    @property
    def segment_id(self) -> str:
        return segment_id(UPLOAD_SOURCE, self.session_id, self.clip.clip_id)

    def decode(self, store: Store, decoder: AudioDecoder, longest_s: float) -> RecordedSegment:
        """Return the segment; raise `InputError` with the reason if the file cannot be used, `LakeError` if none is there."""
        clip = self.clip
        try:
            data = store.read(clip.file_key)
        except ObjectMissingError:
            require_clip_files(store)
            raise InputError("is no longer in the inbox; send it again under a new id") from None
        if hashlib.sha256(data).hexdigest() != clip.sha256:
            raise InputError("has other bytes than were received; send it again under a new id")
        pcm = decoder.decode(data, longest_s)
        origin = SegmentOrigin(UPLOAD_SOURCE, self.session_id, self.day, 0)
        hint = SegmentHint(recorded_at=self.recorded_at, speaker=clip.contributor)
        return build_segment(pcm, origin, clip.clip_id, hint)


@dataclass
class _DayOutcome:
    """What became of the clips of one day of recording."""

    day: str
    consents: str
    """Signature of the consents under which they were read."""
    parquet: str = ""
    segment_ids: dict[str, str] = field(default_factory=dict)
    set_aside: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    seconds: float = 0.0
    dated_by_receipt: int = 0

    def add_to(self, ingested: IngestedHour) -> None:
        """Add this day to the result of the hour."""
        ingested.segments += len(self.segment_ids)
        ingested.seconds += self.seconds
        ingested.days |= {self.day: self.parquet} if self.parquet else {}
        ingested.set_aside += len(self.set_aside)
        ingested.refused += len(self.refused)
        ingested.waiting += len(self.waiting)
        ingested.dated_by_receipt += self.dated_by_receipt


def _publish_clips(
    day: str, clips: Iterable[_DatedClip], lake: Lake, store: Store, settings: Settings, now: datetime
) -> _DayOutcome:
    """Publish the admitted clips of a day; a day without one is left as it is.

    If another run publishes the day at the same time, the clips are read again; raises `PointerMovedError` if that
    happens several times in a row.
    """
    in_order = sorted(clips, key=lambda each: (each.session_id, each.clip.clip_id))
    for _ in range(_MOST_ATTEMPTS - 1):
        with suppress(PointerMovedError):
            return _publish_once(day, in_order, lake, store, settings, now)
    return _publish_once(day, in_order, lake, store, settings, now)


def _publish_once(
    day: str, clips: list[_DatedClip], lake: Lake, store: Store, settings: Settings, now: datetime
) -> _DayOutcome:
    consents = load_consents(settings, now)
    outcome = _DayOutcome(day, consents.signature)
    if day < settings.recordings.first_day:  # no partition could build its text
        bound = f"before recordings.first_day ({settings.recordings.first_day})"
        reason = f"was received on {day}, {bound}; set an earlier first_day, then read the hour again"
        outcome.set_aside = dict.fromkeys((each.clip.clip_id for each in clips), reason)
        return outcome
    admission = open_admission(lake, consents)
    longest_s = settings.recordings.longest_segment_s
    with AudioDecoder() as decoder:
        read = _read_segments(clips, lambda each: each.decode(store, decoder, longest_s), admission, outcome)
        segments = admission.iterate_and_save_tombstones(read)
        first = next(segments, None)
        if first is not None:
            published = publish_day(lake, day, chain([first], segments), settings.work_folder, admitted_by=admission)
            outcome.parquet = published.parquet
    return outcome


def _read_segments(
    clips: Iterable[_DatedClip],
    decode: Callable[[_DatedClip], RecordedSegment],
    admission: Admission,
    outcome: _DayOutcome,
) -> Iterator[RecordedSegment]:
    """Yield the segments of the admitted clips in their order; note in `outcome` what becomes of each clip."""
    for each in clips:
        clip_id, speaker = each.clip.clip_id, each.clip.contributor
        if admission.is_awaited(each.session_id, speaker, each.segment_id):
            outcome.waiting.append(clip_id)
            continue
        try:
            segment = decode(each)
        except InputError as error:
            outcome.set_aside[clip_id] = str(error)
            continue
        if admission.explain_refusal(each.session_id, speaker, each.segment_id, segment.audio_sha256):
            outcome.refused.append(clip_id)
            continue
        outcome.segment_ids[clip_id] = each.segment_id
        outcome.seconds += segment.duration_s
        outcome.dated_by_receipt += segment.recorded_at is None
        yield segment


def _find_local_day(moment: datetime, settings: Settings) -> str:
    return moment.astimezone(settings.zone).strftime("%Y-%m-%d")
