"""Importing a table: its new clips become recordings, its transcripts become annotation events.

A row is matched to a segment of the lake or of Habla's folder by the names of session folder and segment file, or
else by its decoded audio. Clips without a match are added under the source `table`. Several rows can annotate one
segment where their person or time differ. Everything is keyed by content, so an interrupted import is run again.

New clips pass the consent register as recordings do, and texts of known segments as corrections do. Withheld rows
are read again once a consent is given. A new clip with neither speaker nor session waits until a register entry covers
its table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.consent_filter import open_consent_filter
from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.review_queue import load_blind_requests
from habla_ml.annotation.sources.tables.clip_memory import ClipMemory
from habla_ml.annotation.sources.tables.clip_paths import split_audio_path
from habla_ml.annotation.sources.tables.clip_spool import ClipSpool
from habla_ml.annotation.sources.tables.clips import ClipLocator, LocatedClip, find_change_time, find_default_day
from habla_ml.annotation.sources.tables.row_consent_filter import RowConsentFilter, RowTarget
from habla_ml.annotation.sources.tables.rows import TableRow, find_table_file, fingerprint_table, read_table, table_name
from habla_ml.audio import AudioDecoder
from habla_ml.consent.admission import Consents, load_consents, replace_withheld
from habla_ml.errors import InputError, IsolatedError, PointerMovedError, isolate
from habla_ml.lake import Lake, Pointer, PointerReader, catalogue, compute_digest
from habla_ml.lake.shards import read_rows
from habla_ml.names import escape_name
from habla_ml.recordings.day_range import explain_day_outside
from habla_ml.recordings.days import load_day, publish_day, put_skipped_inputs, read_skipped_inputs
from habla_ml.recordings.segments import HABLA_SOURCE, RecordedSegment, read_segment_metadata, segment_id
from habla_ml.recordings.sessions import (
    Skipped,
    canonical_segment_name,
    parse_segment_number,
    parse_session_start,
    to_utc,
)
from habla_ml.settings import Settings

_CLOCK_TOLERANCE: Final = timedelta(days=1)
_MAX_LISTED_PROBLEMS: Final = 1_000


@dataclass(frozen=True)
class TableImport:
    """The result of importing a table."""

    name: str
    days: tuple[str, ...]
    """Days whose recordings or events the table contributed to."""
    matched: int
    """Rows of segments that were known before."""
    clips: int
    added: int
    """Events that this call added; 0 where the table had not changed."""
    skipped_inputs: tuple[Skipped, ...]
    """Rows that were left out, and unknown columns that were ignored."""


def is_table_changed(path: Path, lake: Lake) -> bool:
    """Return whether the table has another size or time of change than at its last import."""
    return _digest_change(path, lake.read_pointer(_pointer_name(path))) is not None


def find_changed_tables(
    lake: Lake, settings: Settings, consents: Consents, errors: list[IsolatedError] | None = None
) -> dict[Path, str]:
    """Return the tables to import → a digest of their state; includes tables with newly consented rows.

    Raises `InputError` if a table does not exist, or rows wait for a consent and the register cannot be read. With
    `errors`, such a table is added to it and does not stop the others.
    """
    found = {}
    pointers = catalogue.TABLES.read(lake)
    for path in settings.annotation.tables:
        with isolate(f"table {path}", errors):
            if (change := find_table_change(path, lake, pointers, consents)) is not None:
                found[path] = change
    return found


def find_table_change(path: Path, lake: Lake, pointers: PointerReader, consents: Consents) -> str | None:
    """Return a digest of the table's state if it is to be imported, or None; errors as `find_changed_tables`."""
    pointer = pointers.read_pointer(_pointer_name(path))
    if pointer is not None:
        pointer = _requeue_newly_consented_rows(lake, pointer, consents)
    return _digest_change(path, pointer)


def load_imported_days(path: Path, pointers: PointerReader) -> tuple[str, ...]:
    """Return the days that the last import of the table contributed to."""
    pointer = pointers.read_pointer(_pointer_name(path))
    return () if pointer is None else tuple(pointer.value["days"])


def load_last_import(path: Path, lake: Lake) -> TableImport | None:
    """Return the result of the last import of the table, or None where there was none."""
    pointer = lake.read_pointer(_pointer_name(path))
    return None if pointer is None else _parse_import(lake, table_name(find_table_file(path)), pointer)


def record_unreadable_table(path: Path, lake: Lake, why: InputError, fingerprint: str) -> None:
    """Record that the table cannot be read in the state of this fingerprint. Its earlier events stay.

    Take the fingerprint before the table is read: a program can save it meanwhile. Raises `InputError` if the table does
    not exist, or `PointerMovedError` if another process imported it at the same time.
    """
    pointer = lake.read_pointer(_pointer_name(path))
    before = {"days": [], "matched": 0, "clips": 0} if pointer is None else pointer.value
    problem = Skipped(table_name(find_table_file(path)), escape_name(find_table_file(path).name), str(why))
    value = {**before, "inputs": fingerprint, "set_aside": put_skipped_inputs(lake, [problem])}
    lake.move_pointer(_pointer_name(path), value, pointer)


def clear_skipped_rows(lake: Lake) -> None:
    """Clear the list of skipped rows of every table that has one; the table is imported again.

    Raises `PointerMovedError` if another process imported a table at the same time. Run again.
    """
    for key in list(catalogue.TABLES.keys(lake)):
        pointer = lake.read_pointer(catalogue.TABLES.name(key))
        if pointer is not None and read_skipped_inputs(lake, pointer.value["set_aside"]):
            value = {**pointer.value, "set_aside": put_skipped_inputs(lake, []), "inputs": "erased"}
            lake.move_pointer(pointer.name, value, pointer)


def import_table(path: Path, lake: Lake, settings: Settings, now: datetime) -> TableImport:
    """Bring the rows of a table into the recordings and the event log.

    Clips whose folder does not name a session are filed under the day of the table's last change, but not before
    `recordings.first_day` nor after today. Events have the row's `annotated_at`, or else the time of that change. To
    read skipped rows again, save the table again. Raises `InputError` if the table cannot be read at all, or
    `PointerMovedError` if another process published one of its days at the same time. Run again.
    """
    path = find_table_file(path)
    pointer, fingerprint = lake.read_pointer(_pointer_name(path)), fingerprint_table(path)
    if pointer is not None and pointer.value["inputs"] == fingerprint:
        return _parse_import(lake, table_name(path), pointer)
    consents = load_consents(settings, now)
    consent_filter = RowConsentFilter(open_consent_filter(lake, consents), settings, now)
    known_clips = None if pointer is None else pointer.value.get("known_clips")
    memory = ClipMemory.load(lake, known_clips, settings.recordings.longest_segment_s)
    with ClipSpool.open(settings.work_folder) as spool, AudioDecoder() as decoder:
        current = _TableImporter(path, lake, settings, now, consent_filter, memory, spool, decoder)
        targets, new_clips = current.find_targets()
        current.publish_clips(new_clips)
    added = current.append_events(targets)
    new_ids = {each.segment_id for each in new_clips}
    value = {
        "inputs": fingerprint,
        "days": sorted({each.day for each in targets}),
        "matched": sum(each.segment_id not in new_ids for each in targets),
        "clips": len(new_clips),
        "set_aside": put_skipped_inputs(lake, current.list_problems()),
        "known_clips": memory.save(lake, {each.audio_sha256 for each in targets}),
    }
    awaited = consent_filter.awaited_entries
    value = replace_withheld(value, {current.name: awaited} if awaited else {}, consents.signature)
    return _parse_import(lake, current.name, lake.move_pointer(_pointer_name(path), value, pointer), added)


@dataclass
class _TableImporter:
    """One import of one table. Memory holds its rows, and the audio of one clip."""

    path: Path
    lake: Lake
    settings: Settings
    now: datetime
    consent_filter: RowConsentFilter
    memory: ClipMemory
    spool: ClipSpool
    decoder: AudioDecoder
    problems: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = table_name(self.path)
        self.changed_at = find_change_time(self.path, self.settings, self.now)
        self._ids_by_day: dict[str, frozenset[str]] = {}
        self._blind_requests = load_blind_requests(self.lake)
        self.longest_s = self.settings.recordings.longest_segment_s
        self.locator = ClipLocator(self.path, find_default_day(self.path, self.settings, self.now))

    def find_targets(self) -> tuple[list[RowTarget], list[RowTarget]]:
        """Return every admitted row with its segment, and the first row of each new clip."""
        rows = self._read_rows()
        named = {row.number: found for row in rows if (found := self._find_named_segment(row))}
        explain = self.consent_filter.explain_text_refusal
        targets = [each for each in named.values() if self._is_admitted(each, explain(each))]
        clips = self._find_clips([row for row in rows if row.number not in named])
        first_rows = {each.audio_sha256: each for each in reversed(clips)}
        known = self._find_known_audio(first_rows)
        clips = self._admit_clips(clips, known)
        segments = first_rows | known
        targets += [replace(segments[each.audio_sha256], row=each.row) for each in clips]
        new_audio = dict.fromkeys(each.audio_sha256 for each in clips if each.audio_sha256 not in known)
        return self._drop_conflicting_rows(targets), [first_rows[each] for each in new_audio]

    def publish_clips(self, clips: list[RowTarget]) -> None:
        """Publish new clips as recordings of their days."""
        for day in sorted({each.day for each in clips}):
            wanted = [each for each in clips if each.day == day]
            publish_day(self.lake, day, self._read_segments(wanted), self.settings.work_folder)

    def append_events(self, targets: list[RowTarget]) -> int:
        """Append the events of all targets to the logs of their days; return how many were new."""
        added = 0
        for day in sorted({each.day for each in targets}):
            events = [self._build_event(each) for each in targets if each.day == day]
            added += append_events(self.lake, day, events, {}).added
        return added

    def list_problems(self) -> list[Skipped]:
        """Return the first rows that were left out, and the number of the others."""
        listed = self.problems[:_MAX_LISTED_PROBLEMS]
        if more := len(self.problems) - len(listed):
            listed.append(Skipped(self.name, escape_name(self.path.name), f"has {more:,} more rows that were left out"))
        return listed

    def _read_rows(self) -> list[TableRow]:
        """Return the rows, except those with a time in the future: they would override every later correction."""
        remarks: list[Skipped] = []
        rows, refused = read_table(self.path, remarks)
        self.problems += remarks + refused
        latest, past = self.now + _CLOCK_TOLERANCE, []
        for row in rows:
            if row.annotated_at is not None and to_utc(row.annotated_at, self.settings.zone) > latest:
                self._skip(row, f"has annotated_at {row.annotated_at.isoformat()}, in the future; correct the row")
            else:
                past.append(row)
        return past

    def _find_named_segment(self, row: TableRow) -> RowTarget | None:
        """Return the segment of the lake or of Habla's folder that the end of the row's path names."""
        session, file_name = split_audio_path(row.audio)
        started = parse_session_start(session)
        if started is None or parse_segment_number(file_name) is None:
            return None
        name = canonical_segment_name(file_name)
        day, identity = started.strftime("%Y-%m-%d"), segment_id(HABLA_SOURCE, session, name)
        folder = self.settings.recordings.folder / session
        is_known = (
            identity in self._load_segment_ids(day) or (folder / name).is_file() or (folder / file_name).is_file()
        )
        return RowTarget(row, identity, session, day) if is_known else None

    def _load_segment_ids(self, day: str) -> frozenset[str]:
        if day not in self._ids_by_day:
            published = load_day(self.lake, day)
            rows = read_segment_metadata(self.lake, published.metadata, ["segment_id"]) if published else ()
            self._ids_by_day[day] = frozenset(row["segment_id"] for row in rows)
        return self._ids_by_day[day]

    def _find_clips(self, rows: list[TableRow]) -> list[RowTarget]:
        """Return each row with the segment that its clip would be. Files that an earlier import read are not read."""
        found = []
        for row in rows:
            try:
                clip = self.locator.locate(row)
                state = self.memory.get_state(clip)
                sound = self.memory.recall(state) or self._read_sound(clip, state)
            except InputError as error:
                self._skip(row, str(error))
                continue
            found.append(RowTarget(row, clip.get_segment_id(sound), clip.session_id, clip.day, sound))
        return found

    def _read_sound(self, clip: LocatedClip, state: str) -> str:
        segment = clip.read(self.longest_s, self.decoder.decode)
        self.memory.remember(state, segment.audio_sha256)
        self.spool.add(segment)
        return segment.audio_sha256

    def _find_known_audio(self, rows_by_audio: Mapping[str, RowTarget]) -> dict[str, RowTarget]:
        """Return audio_sha256 → the segment of the lake that has this audio."""
        known: dict[str, RowTarget] = {}
        wanted = pa.array(list(rows_by_audio), pa.string())
        columns = ["audio_sha256", "segment_id", "session_id", "day"]
        for day in catalogue.RECORDINGS.keys(self.lake) if rows_by_audio else ():
            if (published := load_day(self.lake, day)) is not None:
                table = read_rows(self.lake, published.metadata, columns)
                for row in table.filter(pc.is_in(table["audio_sha256"], wanted)).to_pylist():
                    audio = row.pop("audio_sha256")
                    known.setdefault(audio, RowTarget(rows_by_audio[audio].row, **row, audio_sha256=audio))
        return known

    def _admit_clips(self, clips: list[RowTarget], known: Mapping[str, RowTarget]) -> list[RowTarget]:
        """Return the rows whose audio may come in. One refused row keeps out all rows with the same audio."""
        refused: dict[str, str] = {}
        for each in clips:
            segment = known.get(each.audio_sha256)
            reason = (
                self.consent_filter.explain_clip_refusal(each)
                if segment is None
                else self.consent_filter.explain_text_refusal(replace(segment, row=each.row))
            )
            if reason is not None:
                refused.setdefault(each.audio_sha256, reason)
        self.consent_filter.annotation_filter.admission.save_tombstones()
        return [each for each in clips if self._is_admitted(each, refused.get(each.audio_sha256))]

    def _is_admitted(self, target: RowTarget, reason: str | None) -> bool:
        reason = explain_day_outside(target.day, self.settings, self.now) or reason  # no run could build its text
        if reason is not None:
            self._skip(target.row, reason)
        return reason is None

    def _drop_conflicting_rows(self, targets: list[RowTarget]) -> list[RowTarget]:
        """Return the targets without rows that repeat segment, person and time of an earlier row."""
        first: dict[tuple[str, str, datetime | None], RowTarget] = {}
        for target in targets:
            earlier = first.setdefault((target.segment_id, target.row.person, target.row.annotated_at), target)
            if earlier is not target:
                remedy = "name another person or another annotated_at"
                self._skip(target.row, f"has the same audio as row {earlier.row.number}; {remedy}")
        return list(first.values())

    def _read_segments(self, targets: list[RowTarget]) -> Iterator[RecordedSegment]:
        """Yield the segments of these clips in the order of a day's rows, one at a time."""
        for each in sorted(targets, key=lambda each: (each.session_id, each.row.number)):
            yield self.spool.get(each.row.number) or self._read_again(each)

    def _read_again(self, target: RowTarget) -> RecordedSegment:
        remedy = "it changed during the import: run it again"
        try:
            segment = self.locator.locate(target.row).read(self.longest_s, self.decoder.decode)
        except InputError as error:
            raise InputError(f"{self.name}, {target.row.label} {error}; {remedy}") from error
        if segment.audio_sha256 != target.audio_sha256:
            raise InputError(f"{self.name}, {target.row.label} has other audio than before; {remedy}")
        return segment

    def _build_event(self, target: RowTarget) -> AnnotationEvent:
        row = target.row
        return AnnotationEvent(
            segment_id=target.segment_id,
            session_id=target.session_id,
            day=target.day,
            text=row.text,
            status=row.status,
            reason=row.reason,
            person=row.person,
            source=f"table:{self.name}",
            created_at=self.changed_at if row.annotated_at is None else to_utc(row.annotated_at, self.settings.zone),
            seen_text=row.hint or None,
            model_version=row.model_version,
            is_blind=row.is_answer_to(self._blind_requests.get(target.segment_id)),
        )

    def _skip(self, row: TableRow, reason: str) -> None:
        self.problems.append(Skipped(self.name, row.label, reason))


def _digest_change(path: Path, pointer: Pointer | None) -> str | None:
    """Return a digest of the table's state and its last import, or None if it has not changed since."""
    fingerprint, imported = fingerprint_table(path), None if pointer is None else pointer.value["inputs"]
    return None if imported == fingerprint else compute_digest([fingerprint, imported])


def _requeue_newly_consented_rows(lake: Lake, pointer: Pointer, consents: Consents) -> Pointer | None:
    """Mark the table as changed where one of its withheld rows is consented now; return its present pointer."""
    withheld = pointer.value.get("withheld", {})
    if not withheld or consents.unchanged_since(pointer.value["consents"]):
        return pointer
    granted = any(consents.is_granted_for_table(table, entries) for table, entries in withheld.items())
    inputs = f"consent-{consents.digest}" if granted else pointer.value["inputs"]
    value = replace_withheld({**pointer.value, "inputs": inputs}, withheld, consents.signature)
    try:
        return lake.move_pointer(pointer.name, value, pointer)
    except PointerMovedError:
        return lake.read_pointer(pointer.name)


def _pointer_name(path: Path) -> str:
    return catalogue.TABLES.name(compute_digest(escape_name(str(find_table_file(path).resolve())))[:16])


def _parse_import(lake: Lake, name: str, pointer: Pointer, added: int = 0) -> TableImport:
    value: Mapping[str, Any] = pointer.value
    skipped = read_skipped_inputs(lake, value["set_aside"])
    return TableImport(name, tuple(value["days"]), value["matched"], value["clips"], added, skipped)
