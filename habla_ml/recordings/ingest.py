"""Bringing Habla's sessions into the lake, a day at a time, before Habla deletes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from habla_ml.audio import decode_wav, encode_flac, measure, pcm_sha256
from habla_ml.errors import InputError
from habla_ml.lake import Lake, digest_of
from habla_ml.recordings.days import PublishedDay, load_day, publish_day, read_set_aside
from habla_ml.recordings.metadata import SegmentHint, SessionHints, read_hints
from habla_ml.recordings.segments import HABLA, Segment, segment_id
from habla_ml.recordings.sessions import (
    Scan,
    SessionFile,
    SessionFolder,
    SetAside,
    read_plain_file,
    scan_sessions,
)
from habla_ml.settings import Settings

# 30 s of 8-channel double at 48 kHz is 92 MB; no segment is larger.
_MOST_WAV_BYTES: Final = 128 << 20


@dataclass(frozen=True)
class DayOfRecordings:
    """One day after `ingest_day`."""

    day: str
    parquet: str
    """Object id of the day's rows with audio."""
    facts: str
    """Object id of the same rows without audio."""
    segments: int
    hours: float
    sessions: Mapping[str, int]
    """How many sessions of Habla's folder are `finished`, `crashed`, `live`, `empty` now, and how many sessions
    the `lake` holds of this day."""
    set_aside: tuple[SetAside, ...]
    read_sessions: tuple[str, ...]
    """The sessions that were read now; none where nothing changed."""


@dataclass(frozen=True)
class ChangedDay:
    """A day with a session that the lake has not seen, or not in this state."""

    day: str
    fingerprint: str
    """Changes whenever the files of the day's sessions do."""


def changed_days(folder: Path, lake: Lake, settings: Settings, now: datetime) -> Iterator[ChangedDay]:
    """The days to ingest, in order; costs one walk and one small pointer a day, and opens no recording.

    Days before `recordings.first_day` are left out: they have no partition.
    """
    days: dict[str, dict[str, str]] = defaultdict(dict)
    for session in scan_sessions(folder, settings, now).sessions:
        if session.state != "live" and session.day >= settings.recordings.first_day:
            days[session.day][session.name] = _fingerprint(session, settings)
    for day, sessions in sorted(days.items()):
        known = load_day(lake, day)
        if known is None or not sessions.items() <= known.inputs.items():
            yield ChangedDay(day, digest_of(sessions))


def ingest_day(folder: Path, day: str, lake: Lake, settings: Settings, now: datetime) -> DayOfRecordings:
    """Bring one day's finished and crashed sessions into the lake.

    Reads only the sessions whose files changed since the last time; live sessions wait. One bad file is set aside
    with its reason and nothing else is lost. Running it again on the same files publishes the same object and
    reads no audio. The work is proportional to the changed sessions, plus one copy of the day's object.

    Raises:
        InputError: the recordings folder cannot be listed.
        LakeError: nothing could be published; the day stands as before.
    """
    scan = scan_sessions(folder, settings, now, day)
    before = load_day(lake, day)
    inputs = {each.name: _fingerprint(each, settings) for each in scan.sessions if each.state != "live"}
    known = before.inputs if before else {}
    changed = [each for each in scan.sessions if each.name in inputs and known.get(each.name) != inputs[each.name]]
    if before is not None and not changed:
        return _described(lake, before, scan, ())
    changed.sort(key=lambda session: session.name)
    hints = {each.name: read_hints(each, settings.zone) for each in changed}
    set_aside = [problem for each in hints.values() for problem in each.problems]
    english = [name for name, each in hints.items() if each.english]
    set_aside += [SetAside(name, "", "is spoken in English (en_to_es): no corpus material") for name in english]
    published = publish_day(
        lake,
        day,
        _fresh(changed, hints, settings, set_aside),
        {each.name: inputs[each.name] for each in changed},
        set_aside,
        settings.work_folder,
        dropped=english,
    )
    return _described(lake, published, scan, tuple(each.name for each in changed))


def read_segment(
    path: Path,
    source: str,
    session_id: str,
    day: str,
    number: int,
    hint: SegmentHint,
    direction: str | None,
    longest_s: float,
) -> Segment:
    """Read, measure and encode one WAV file.

    Raises:
        InputError: why the file cannot be used.
    """
    samples = decode_wav(read_plain_file(path, _MOST_WAV_BYTES), longest_s)
    measured = measure(samples)
    return Segment(
        segment_id=segment_id(source, session_id, path.name),
        source=source,
        session_id=session_id,
        day=day,
        file_name=path.name,
        number=number,
        recorded_at=hint.recorded_at,
        audio=encode_flac(samples),
        audio_sha256=pcm_sha256(samples),
        duration_s=measured.duration_s,
        loudness_dbfs=measured.loudness_dbfs,
        peak_dbfs=measured.peak_dbfs,
        clipped_share=measured.clipped_share,
        speaker=hint.speaker,
        direction=direction,
        machine_text=hint.text,
        machine_confidence=hint.confidence,
        asr_status=hint.asr_status,
    )


def _fingerprint(session: SessionFolder, settings: Settings) -> str:
    """Digest of everything that decides a session's rows."""
    return digest_of([session.fingerprint(), settings.time_zone, settings.recordings.longest_segment_s])[:32]


def _fresh(
    sessions: list[SessionFolder], hints: Mapping[str, SessionHints], settings: Settings, set_aside: list[SetAside]
) -> Iterator[Segment]:
    """Rows of the sessions in order; what cannot be read is added to `set_aside` on the way."""
    for session in sessions:
        said = hints[session.name]
        if said.english:
            continue
        for file in session.files:
            if file.name.endswith(".wav") and file.number is None:
                set_aside.append(SetAside(session.name, file.name, "is not named segment_<number>.wav"))
        for file in session.segments:
            try:
                yield _read(session, file, said, settings)
            except InputError as error:
                set_aside.append(SetAside(session.name, file.name, str(error)))


def _read(session: SessionFolder, file: SessionFile, said: SessionHints, settings: Settings) -> Segment:
    return read_segment(
        session.path / file.name,
        HABLA,
        session.name,
        session.day,
        file.number or 0,
        said.by_file.get(file.name, SegmentHint()),
        said.direction,
        settings.recordings.longest_segment_s,
    )


def _described(lake: Lake, published: PublishedDay, scan: Scan, read: tuple[str, ...]) -> DayOfRecordings:
    states = [each.state for each in scan.sessions]
    return DayOfRecordings(
        day=published.day,
        parquet=published.parquet,
        facts=published.facts,
        segments=published.segments,
        hours=published.hours,
        sessions={
            **{state: states.count(state) for state in ("finished", "crashed", "live", "empty")},
            "lake": published.sessions,
        },
        set_aside=(*read_set_aside(lake, published.set_aside), *scan.ignored),
        read_sessions=read,
    )
