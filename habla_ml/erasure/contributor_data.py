"""Find a contributor's data in the lake and the model versions that used it.

Reads the tables of metadata and text that the index of the lake chooses, and never audio.

A recording may be in a day, or only in the text and snapshots of earlier days if the day no longer has it. The snapshots are
those of model versions and of datasets on the Hub. For withheld
segments the event log may have annotations, and Habla's folder a recording. A segment belongs to a contributor by its
recording's label, and by the speaker that a person named for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import chain
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
from habla_ml.erasure.table_index import IndexRow, TableIndex, load_index, make_marks, search_contributors
from habla_ml.errors import ObjectMissingError
from habla_ml.lake import Lake, Pointer, PointerReader, PointerSnapshot, catalogue
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


@dataclass(frozen=True)
class DayPointers:
    """The pointers of all days as of a listing: only those that moved since an earlier listing are read."""

    families: tuple[PointerSnapshot, ...]

    @classmethod
    def list(cls, lake: Lake) -> DayPointers:
        """List recordings, annotations and text."""
        return cls(tuple(each.read(lake) for each in (catalogue.RECORDINGS, catalogue.ANNOTATIONS, catalogue.CORPUS)))

    def read_pointer(self, name: str) -> Pointer | None:
        """See `PointerReader`."""
        return next(each for each in self.families if name.startswith(each.prefix)).read_pointer(name)


def find_contributor_data(
    lake: Lake,
    contributor: Contributor,
    folder: Iterable[FolderSegment] = (),
    answers: Iterable[NamedSegment] = (),
    index: TableIndex | None = None,
    pointers: PointerReader | None = None,
) -> ContributorData:
    """Find all segments of a contributor in the lake, and all other names of the same sounds.

    Args:
        lake: Source of the recordings, their text and the log.
        contributor: Whose data.
        folder: The segments in Habla's folder; their labels attribute the annotations of withheld segments.
        answers: Answers of the service's page that are not in the log yet.
        index: Index of the lake, which learns what it does not know; by default the stored one.
        pointers: The pointers of days; by default each present one, as an erasure needs.
    """
    tables = _LakeTables(lake, load_index(lake) if index is None else index, pointers)
    covers = search_contributors([contributor])
    named = {
        each.segment_id: each.session_id
        for each in (*tables.list_named_segments(covers), *answers)
        if contributor.covers(each.session_id, each.speaker, each.segment_id)
    }
    named_marks = make_marks(named)
    sounds = {
        row["audio_sha256"]
        for row in tables.read_segments(lambda each: covers(each) or each.has_any(named_marks))
        if row["segment_id"] in named or _is_covered(contributor, row)
    }
    sound_marks = make_marks(sounds)
    durations_s: dict[str, float] = {}
    sessions: dict[str, set[str]] = {}
    days: set[str] = set()
    for row in tables.read_segments(lambda each: each.has_any(sound_marks)):
        if row["audio_sha256"] in sounds:
            durations_s[row["segment_id"]] = row["duration_s"]
            sessions.setdefault(row["session_id"], set()).add(row["segment_id"])
            days.update([row["day"]] if row["day"] else [])
    withheld = named | _find_withheld(tables, contributor, folder)
    streams = {
        stream
        for session, streams_of_session in tables.raw_streams.items()
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
    """Return contributor with a withdrawn consent → days that still have their recordings.

    If there are contributors, the index of the lake learns the new days, so that an erasure need not read them.
    """
    if not register.contributors:
        return {}
    index = load_index(lake)
    tables = _LakeTables(lake, index)
    withdrawn = [each for each in register.contributors if each.is_withdrawn(today)]
    covers = search_contributors(withdrawn)
    named = ((each.session_id, each.speaker, each.segment_id, each.day) for each in tables.list_named_segments(covers))
    recorded = (
        (row["session_id"], row["speaker"], row["segment_id"], row["day"]) for row in tables.read_recordings(covers)
    )
    found: dict[str, set[str]] = {}
    for session, speaker, segment, day in chain(recorded, named):
        for each in register.find_contributors(session, speaker, segment):
            if each.is_withdrawn(today):
                found.setdefault(each.contributor, set()).add(day)
    if index.has_learned:
        index.save(set(lake.list_object_ids()))
    return {name: tuple(sorted(days)) for name, days in sorted(found.items())}


def find_affected_versions(lake: Lake, data: ContributorData, index: TableIndex) -> AffectedVersions:
    """Return the model versions whose planned or reported snapshot has any of these segments.

    A version that continues from an affected one is affected too.
    """
    trained, evaluated = set(), set()
    marks = make_marks((*data.segments, *data.sounds))
    uses = list(list_snapshot_uses(lake))
    tables = _find_snapshot_tables(lake, {use.snapshot for use in uses}, index)
    found = index.find(tables.values(), lambda each: each.has_any(marks))
    splits = {snapshot: _find_splits(lake, table, data) for snapshot, table in tables.items() if table in found}
    for use in uses:
        used = splits.get(use.snapshot, set())
        if use.purpose == "training" and "train" in used:
            trained.add(use.version)
        if use.purpose == "sealed evaluation":
            evaluated.update([use.version] if "sealed" in used else [])
        elif "test" in used or (use.purpose == "training" and "validation" in used):
            evaluated.add(use.version)
    trained |= read_continuations(lake).find_descendants(trained) if trained else set()
    return AffectedVersions(tuple(sorted(trained)), tuple(sorted(evaluated)))


def _find_splits(lake: Lake, table: str, data: ContributorData) -> set[str]:
    """Return the splits of a snapshot's table that have any of these segments."""
    return {
        row["split"]
        for row in read_table(lake, table, ("segment_id", "audio_sha256", "split")).to_pylist()
        if row["segment_id"] in data.segments or row["audio_sha256"] in data.sounds
    }


def _find_snapshot_tables(lake: Lake, snapshots: Iterable[str], index: TableIndex) -> dict[str, str]:
    """Return snapshot → its table of segments, without those that an earlier erasure removed."""
    found = {}
    for each in sorted(snapshots):
        with suppress(ObjectMissingError):
            table = load_snapshot(lake, each).segments
            index.list_shards(table)
            found[each] = table
    return found


@dataclass(frozen=True)
class _SegmentTable:
    """A table with segments: of a day's recordings or text, or of a snapshot."""

    day: str
    """Empty for a snapshot."""
    table: str


class _LakeTables:
    """The tables of segments and of events that pointers lead to, which the index chooses from."""

    def __init__(self, lake: Lake, index: TableIndex, pointers: PointerReader | None = None) -> None:
        self._lake, self._index, self._pointers = lake, index, lake if pointers is None else pointers
        self._recordings: list[_SegmentTable] = []
        self.raw_streams: dict[str, list[str]] = {}
        """Session → object ids."""
        self._claims: dict[str, set[str]] = {}
        """Session → the claims that withhold something of it."""
        audio = {}
        for day in self._load_days():
            self._recordings.append(_SegmentTable(day.day, day.metadata))
            audio[day.parquet] = day.metadata
            for session, streams in day.raw_streams.items():
                self.raw_streams.setdefault(session, []).extend(each.object_id for each in streams)
            for session, claims in day.withheld.items():
                self._claims.setdefault(session, set()).update(claims)
        logs = ((day, load_events(self._pointers, day)) for day in catalogue.ANNOTATIONS.keys(lake))
        self._logs = [_SegmentTable(day, log.parquet) for day, log in logs if log is not None]
        self._index.find((each.table for each in self._recordings), lambda _: False)
        self._index.learn_audio(audio)

    @cached_property
    def _other_segments(self) -> list[_SegmentTable]:
        """The text of days, and the snapshots of model versions and of the Hub."""
        texts = (load_corpus_day(self._pointers, day) for day in catalogue.CORPUS.keys(self._lake))
        pushed = {push.snapshot for dataset in list_hub_datasets(self._lake) for push in dataset.pushes}
        snapshots = _find_snapshot_tables(
            self._lake, {use.snapshot for use in list_snapshot_uses(self._lake)} | pushed, self._index
        )
        return [
            *(_SegmentTable(each.day, each.parquet) for each in texts if each is not None),
            *(_SegmentTable("", table) for table in snapshots.values()),
        ]

    def _load_days(self) -> Iterator[PublishedDay]:
        days = (load_day(self._pointers, day) for day in catalogue.RECORDINGS.keys(self._lake))
        yield from (each for each in days if each is not None)

    def read_recordings(self, is_wanted: Callable[[IndexRow], bool]) -> Iterator[Mapping[str, Any]]:
        """Yield the segments of the recorded days whose tables are wanted, with their `day`."""
        return self._read(self._recordings, is_wanted)

    def read_segments(self, is_wanted: Callable[[IndexRow], bool]) -> Iterator[Mapping[str, Any]]:
        """Yield the segments of all wanted tables; those of snapshots have an empty `day`."""
        return self._read([*self._recordings, *self._other_segments], is_wanted)

    def list_named_segments(self, is_wanted: Callable[[IndexRow], bool]) -> Iterator[NamedSegment]:
        """Yield the segments for which a wanted log has a speaker's name, once for each event."""
        for day, events in self.read_logs(is_wanted, ["segment_id", "session_id", "speaker"]):
            for row in events.filter(pc.not_equal(events["speaker"], "")).to_pylist():
                yield NamedSegment(**row, day=day)

    def read_logs(
        self, is_wanted: Callable[[IndexRow], bool], columns: Sequence[str]
    ) -> Iterator[tuple[str, pa.Table]]:
        """Yield day and columns of the events of each wanted log."""
        found = self._index.find((each.table for each in self._logs), is_wanted)
        for each in self._logs:
            if each.table in found:
                yield each.day, read_event_table(self._lake, each.table, columns)

    def find_waiting_sessions(self, contributor: Contributor) -> set[str]:
        """Return the sessions of which something is withheld until this contributor consents."""
        return {
            session
            for session, claims in self._claims.items()
            if any(digest_claim(contributor.contributor, each) in claims for each in contributor.list_claims(session))
        }

    def _read(
        self, tables: Sequence[_SegmentTable], is_wanted: Callable[[IndexRow], bool]
    ) -> Iterator[Mapping[str, Any]]:
        found = self._index.find((each.table for each in tables), is_wanted)
        for each in tables:
            if each.table in found:
                for row in read_segment_metadata(self._lake, each.table, SEGMENT_COLUMNS):
                    yield {**row, "day": each.day}


def _find_withheld(tables: _LakeTables, contributor: Contributor, folder: Iterable[FolderSegment]) -> dict[str, str]:
    """Return segment → session of the contributor's segments in Habla's folder and in the event log.

    An annotated segment without recording and label counts too, if its session waits for this contributor's consent.
    """
    speakers = {}
    found = {}
    for each in folder:
        speakers[each.segment_id] = each.speaker
        if contributor.covers(each.session_id, each.speaker, each.segment_id):
            found[each.segment_id] = each.session_id
    covers, waiting = search_contributors([contributor]), tables.find_waiting_sessions(contributor)
    unattributed = {}
    for _, events in tables.read_logs(
        lambda each: covers(each) or each.has_any_session(waiting), ["segment_id", "session_id"]
    ):
        for segment, session in {(row["segment_id"], row["session_id"]) for row in events.to_pylist()}:
            if contributor.covers(session, speakers.get(segment), segment):
                found[segment] = session
            elif speakers.get(segment) is None and session in waiting:
                unattributed[segment] = session
    marks = make_marks(unattributed)
    recorded = {row["segment_id"] for row in tables.read_recordings(lambda each: each.has_any(marks))}
    return found | {segment: session for segment, session in unattributed.items() if segment not in recorded}


def learn_audio(lake: Lake, index: TableIndex) -> None:
    """Let the index learn the days' tables with audio from those of their metadata."""
    _LakeTables(lake, index)


def _is_covered(contributor: Contributor, row: Mapping[str, Any]) -> bool:
    return contributor.covers(row["session_id"], row["speaker"], row["segment_id"])
