"""Find a contributor's data in the lake and the model versions that used it. Reads metadata and text, never audio.

A recording may be in a day, or only in the text and snapshots of earlier days if the day no longer has it. The snapshots are
those of model versions and of datasets on the Hub. For withheld
segments the event log may have annotations, and Habla's folder a recording. A segment belongs to a contributor by its
recording's label, and by the speaker that a person named for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.event_log import load_events, read_event_table
from habla_ml.consent.register import Contributor, Register, digest_claim
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.build import load_corpus_day
from habla_ml.corpus.hub_dataset.pushes import list_hub_datasets
from habla_ml.corpus.snapshot import load_snapshot
from habla_ml.corpus.snapshot_uses import list_snapshot_uses
from habla_ml.errors import ObjectMissingError
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.table import read_table
from habla_ml.recordings.days import PublishedDay, load_day
from habla_ml.recordings.metadata import FolderSegment
from habla_ml.recordings.segments import SEGMENT_COLUMNS, read_segment_metadata
from habla_ml.training.continuations import read_continuations


@dataclass(frozen=True)
class ContributorData:
    """Segments of a contributor in the lake."""

    durations_s: Mapping[str, float]
    sounds: frozenset[str]
    """sha256 of their decoded samples."""
    sessions: Mapping[str, int]
    """Session → number of these segments."""
    days: tuple[str, ...]
    streams: frozenset[str]
    """Object ids of the raw streams of these sessions."""
    withheld: frozenset[str] = frozenset()
    """Segments of the contributor that are not in the lake; annotations or files in Habla's folder may exist."""

    @property
    def segments(self) -> frozenset[str]:
        """Their ids."""
        return frozenset(self.durations_s)

    @property
    def hours(self) -> float:
        """Their total length."""
        return round(sum(self.durations_s.values()) / 3600, 9)


@dataclass(frozen=True)
class AffectedVersions:
    """Model versions that used a voice."""

    trained: tuple[str, ...]
    evaluated: tuple[str, ...]
    """Chosen by it (validation) or scored on it."""


@dataclass(frozen=True)
class NamedSegment:
    """A segment for which a person named the speaker, in the log or in an answer that is not there yet."""

    segment_id: str
    session_id: str
    day: str
    speaker: str


def find_contributor_data(
    lake: Lake,
    contributor: Contributor,
    folder: Iterable[FolderSegment] = (),
    answers: Iterable[NamedSegment] = (),
) -> ContributorData:
    """Find all segments of a contributor in the lake, and all other names of the same sounds.

    Args:
        lake: Source of the recordings, their text and the log.
        contributor: Whose data.
        folder: The segments in Habla's folder; their labels attribute the annotations of withheld segments.
        answers: Answers of the service's page that are not in the log yet.
    """
    named = {
        each.segment_id: each.session_id
        for each in (*_list_named_segments(lake), *answers)
        if contributor.covers(each.session_id, each.speaker, each.segment_id)
    }
    sounds = {
        row["audio_sha256"]
        for row in _read_all_segments(lake)
        if row["segment_id"] in named or _is_covered(contributor, row)
    }
    durations_s: dict[str, float] = {}
    sessions: dict[str, set[str]] = {}
    days: set[str] = set()
    for row in _read_all_segments(lake) if sounds else ():
        if row["audio_sha256"] in sounds:
            durations_s[row["segment_id"]] = row["duration_s"]
            sessions.setdefault(row["session_id"], set()).add(row["segment_id"])
            days.update([row["day"]] if row["day"] else [])
    withheld = named | _find_withheld(lake, contributor, folder)
    streams = {
        stream.object_id
        for day in _load_days(lake)
        for session, streams_of_session in day.raw_streams.items()
        if session in sessions or session in withheld.values() or contributor.covers(session, None, "")
        for stream in streams_of_session
    }
    return ContributorData(
        durations_s,
        frozenset(sounds),
        {session: len(segments) for session, segments in sorted(sessions.items())},
        tuple(sorted(days)),
        frozenset(streams),
        frozenset(withheld.keys() - durations_s.keys() - read_tombstones(lake).segments),
    )


def find_withdrawn_days(lake: Lake, register: Register, today: date) -> dict[str, tuple[str, ...]]:
    """Return contributor with a withdrawn consent → days that still have their recordings."""
    is_needed = any(each.is_withdrawn(today) for each in register.contributors)
    found: dict[str, set[str]] = {}
    for row in _read_recorded_segments(lake) if is_needed else ():
        for each in register.find_contributors(row["session_id"], row["speaker"], row["segment_id"]):
            if each.is_withdrawn(today):
                found.setdefault(each.contributor, set()).add(row["day"])
    for named in _list_named_segments(lake) if is_needed else ():
        for each in register.find_contributors(named.session_id, named.speaker, named.segment_id):
            if each.is_withdrawn(today):
                found.setdefault(each.contributor, set()).add(named.day)
    return {name: tuple(sorted(days)) for name, days in sorted(found.items())}


def find_affected_versions(lake: Lake, data: ContributorData) -> AffectedVersions:
    """Return the model versions whose planned or reported snapshot has any of these segments.

    A version that continues from an affected one is affected too.
    """
    trained, evaluated = set(), set()
    for use in list_snapshot_uses(lake):
        splits = {
            row["split"]
            for row in _read_snapshot_segments(lake, use.snapshot, ("segment_id", "audio_sha256", "split"))
            if row["segment_id"] in data.segments or row["audio_sha256"] in data.sounds
        }
        if use.purpose == "training" and "train" in splits:
            trained.add(use.version)
        if use.purpose == "sealed evaluation":
            evaluated.update([use.version] if "sealed" in splits else [])
        elif "test" in splits or (use.purpose == "training" and "validation" in splits):
            evaluated.add(use.version)
    trained |= read_continuations(lake).find_descendants(trained) if trained else set()
    return AffectedVersions(tuple(sorted(trained)), tuple(sorted(evaluated)))


def _read_snapshot_segments(lake: Lake, snapshot_id: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the segments of a snapshot; none if an earlier erasure removed it."""
    try:
        rows: list[dict[str, Any]] = read_table(lake, load_snapshot(lake, snapshot_id).segments, columns).to_pylist()
    except ObjectMissingError:
        return []
    return rows


def _find_withheld(lake: Lake, contributor: Contributor, folder: Iterable[FolderSegment]) -> dict[str, str]:
    """Return segment → session of the contributor's segments in Habla's folder and in the event log.

    An annotated segment without recording and label counts too, if its session waits for this contributor's consent.
    """
    speakers = {}
    found = {}
    for each in folder:
        speakers[each.segment_id] = each.speaker
        if contributor.covers(each.session_id, each.speaker, each.segment_id):
            found[each.segment_id] = each.session_id
    recorded = {row["segment_id"] for row in _read_recorded_segments(lake)}
    waiting = _find_waiting_sessions(lake, contributor)
    for _, events in _read_logs(lake, ["segment_id", "session_id"]):
        for segment, session in {(row["segment_id"], row["session_id"]) for row in events.to_pylist()}:
            label = speakers.get(segment)
            is_unattributed = label is None and segment not in recorded and session in waiting
            if is_unattributed or contributor.covers(session, label, segment):
                found[segment] = session
    return found


def _list_named_segments(lake: Lake) -> Iterator[NamedSegment]:
    """Yield the segments for which the log has a speaker's name, once for each event."""
    for day, events in _read_logs(lake, ["segment_id", "session_id", "speaker"]):
        for row in events.filter(pc.not_equal(events["speaker"], "")).to_pylist():
            yield NamedSegment(**row, day=day)


def _read_logs(lake: Lake, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Yield each day that has a log, and columns of its events."""
    for day in catalogue.ANNOTATIONS.keys(lake):
        if (log := load_events(lake, day)) is not None:
            yield day, read_event_table(lake, log.parquet, columns)


def _find_waiting_sessions(lake: Lake, contributor: Contributor) -> Collection[str]:
    """Return the sessions of which something is withheld until this contributor consents."""
    return {
        session
        for day in _load_days(lake)
        for session, claims in day.withheld.items()
        if any(digest_claim(contributor.contributor, each) in claims for each in contributor.list_claims(session))
    }


def _load_days(lake: Lake) -> Iterator[PublishedDay]:
    days = (load_day(lake, day) for day in catalogue.RECORDINGS.keys(lake))
    yield from (each for each in days if each is not None)


def _read_recorded_segments(lake: Lake) -> Iterator[Mapping[str, Any]]:
    """Yield the segments of the recorded days."""
    for held in _load_days(lake):
        yield from ({**row, "day": held.day} for row in read_segment_metadata(lake, held.metadata, SEGMENT_COLUMNS))


def _read_all_segments(lake: Lake) -> Iterator[Mapping[str, Any]]:
    """Yield the segments of the days, their text and the snapshots of model versions and of the Hub.

    Those of snapshots have an empty `day`.
    """
    yield from _read_recorded_segments(lake)
    for day in catalogue.CORPUS.keys(lake):
        if (text := load_corpus_day(lake, day)) is not None:
            yield from ({**row, "day": day} for row in read_segment_metadata(lake, text.parquet, SEGMENT_COLUMNS))
    pushed = {push.snapshot for dataset in list_hub_datasets(lake) for push in dataset.pushes}
    for snapshot in sorted({use.snapshot for use in list_snapshot_uses(lake)} | pushed):
        for row in _read_snapshot_segments(lake, snapshot, SEGMENT_COLUMNS):
            yield {**row, "day": ""}


def _is_covered(contributor: Contributor, row: Mapping[str, Any]) -> bool:
    return contributor.covers(row["session_id"], row["speaker"], row["segment_id"])
