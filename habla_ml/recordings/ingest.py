"""Ingest Habla's sessions into the lake, one day at a time, before Habla deletes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from habla_ml.consent.admission import load_consents, open_admission
from habla_ml.lake import Lake
from habla_ml.recordings.change_detection import fingerprint_session
from habla_ml.recordings.day_reader import DayReader
from habla_ml.recordings.days import (
    PublishedDay,
    load_day,
    publish_day,
    read_skipped_inputs,
    requeue_newly_consented_sessions,
    same_fingerprint,
)
from habla_ml.recordings.segment_audio import EncodeFiles, encode_here
from habla_ml.recordings.sessions import FolderScan, Skipped, scan_sessions
from habla_ml.settings import Settings


@dataclass(frozen=True)
class IngestedDay:
    """One day after `ingest_day`."""

    day: str
    parquet: str
    """Object id of the day's rows with audio."""
    metadata: str
    segments: int
    hours: float
    sessions: Mapping[str, int]
    """Number of sessions in Habla's folder by state (`finished`, `crashed`, `live`, `empty`), and in the `lake`."""
    skipped_inputs: tuple[Skipped, ...]
    read_sessions: tuple[str, ...]
    """Sessions that were read now; none if neither files nor consents changed."""


def ingest_day(
    folder: Path, day: str, lake: Lake, settings: Settings, now: datetime, encode: EncodeFiles = encode_here
) -> IngestedDay:
    """Publish one day's finished and crashed sessions in the lake.

    Reads only sessions with changed files, or with withheld segments for which a consent was granted. Live sessions
    wait. A bad file is skipped with its reason. The same files give the same object again, without reading audio. The
    work is proportional to the changed sessions, plus one small shard of the day. `encode` says where audio is encoded.
    Raises `InputError` if the recordings folder cannot be listed, or the register of consents cannot be read, or
    `LakeError` if nothing can be published, or an error of `encode`. The day is unchanged.
    """
    scan = scan_sessions(folder, settings, now, day)
    before, consents = load_day(lake, day), load_consents(settings, now)
    if before is not None:
        before = requeue_newly_consented_sessions(lake, before, consents)
    known = before.inputs if before else {}
    changed = [
        each
        for each in scan.sessions
        if each.state != "live" and not same_fingerprint(known.get(each.name), fingerprint_session(each, settings))
    ]
    if before is not None and not changed:
        return _summarise_day(lake, before, scan, ())
    admission = open_admission(lake, consents)
    streams = before.raw_streams if before else {}
    reader = DayReader(
        sorted(changed, key=lambda session: session.name), lake, settings, now, admission, streams, encode
    )
    segments = admission.iterate_and_save_tombstones(reader.read_segments())
    published = publish_day(lake, day, segments, settings.work_folder, reader.update, admission)
    return _summarise_day(lake, published, scan, tuple(each.name for each in changed))


def _summarise_day(lake: Lake, published: PublishedDay, scan: FolderScan, read: tuple[str, ...]) -> IngestedDay:
    states = [each.state for each in scan.sessions]
    return IngestedDay(
        day=published.day,
        parquet=published.parquet,
        metadata=published.metadata,
        segments=published.segments,
        hours=published.hours,
        sessions={
            **{state: states.count(state) for state in ("finished", "crashed", "live", "empty")},
            "lake": published.sessions,
        },
        skipped_inputs=(*read_skipped_inputs(lake, published.set_aside), *scan.ignored),
        read_sessions=read,
    )
