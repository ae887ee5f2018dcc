"""Bringing a table into the lake: its clips become recordings, its transcripts events.

A row is matched to a segment that is there already where it can be: by the names of session folder and segment
file, as the script of the plan writes them, or else by the sound itself. Only clips nobody has seen are added,
under the source `table`. Several rows may speak of one segment, where their person or time differ: each is an event of
its own. Everything is keyed by content, so an import that was cut short is simply run again.

Clips pass the register of consents as recordings do, and so do words on segments that are there already: what is
withheld is looked at again when a consent has come. A new clip that says neither whose voice it is nor of which
session it is waits until an entry of the register covers its table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.annotation.consent_filter import open_consent_filter
from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.table_consent_filter import RowTarget, TableConsentFilter
from habla_ml.annotation.tables import (
    TableClip,
    TableRow,
    find_table_file,
    read_modification_time,
    read_table,
    read_table_clips,
    table_name,
)
from habla_ml.consent.admission import Consents, load_consents, replace_withheld
from habla_ml.errors import InputError, PointerMovedError
from habla_ml.lake import Lake, catalogue, compute_digest
from habla_ml.recordings import (
    HABLA_SOURCE,
    RecordedSegment,
    Skipped,
    load_day,
    publish_day,
    read_skipped_inputs,
    segment_id,
)
from habla_ml.recordings.days import put_skipped_inputs
from habla_ml.recordings.sessions import parse_segment_number, parse_session_start, to_utc
from habla_ml.settings import Settings

_CLOCK_TOLERANCE: Final = timedelta(days=1)


@dataclass(frozen=True)
class TableImport:
    """What became of a table."""

    name: str
    days: tuple[str, ...]
    """The days whose recordings or events concern it; their corpus is to be built again."""
    matched: int
    """Rows that speak of segments that were there."""
    clips: int
    """Rows whose audio is in the lake because of this table."""
    added: int
    """Events that this call added; 0 where the table had not changed."""
    skipped_inputs: tuple[Skipped, ...]
    """Rows that were left out, and unknown columns that were ignored."""


def is_table_changed(path: Path, lake: Lake) -> bool:
    """Whether `import_table` would do anything: the table's own size and time of change decide."""
    pointer = lake.read_pointer(_pointer_name(path))
    return pointer is None or pointer.value["inputs"] != _fingerprint_table(path)


def find_changed_tables(lake: Lake, settings: Settings, consents: Consents) -> dict[Path, str]:
    """The tables to import → the state in which they are; one whose withheld rows may come in now is among them.

    Raises:
        InputError: a table is not where the settings say, or the register cannot be read where rows of one wait.
    """
    found = {}
    for path in settings.annotation.tables:
        _requeue_newly_consented_rows(path, lake, consents)
        if is_table_changed(path, lake):
            pointer = lake.read_pointer(_pointer_name(path))
            found[path] = compute_digest([_fingerprint_table(path), pointer and pointer.value["inputs"]])
    return found


def load_imported_days(path: Path, lake: Lake) -> tuple[str, ...]:
    """The days that the table spoke of when it was last imported."""
    pointer = lake.read_pointer(_pointer_name(path))
    return () if pointer is None else tuple(pointer.value["days"])


def load_last_import(path: Path, lake: Lake) -> TableImport | None:
    """What became of the table when it was last looked at, with what was set aside; None before the first time."""
    pointer = lake.read_pointer(_pointer_name(path))
    return (
        None
        if pointer is None
        else _build_table_import(lake, table_name(find_table_file(path)), pointer.value, added=0)
    )


def record_unreadable_table(path: Path, lake: Lake, why: InputError) -> None:
    """Remember that the table, as it is now, cannot be read; what it said before stays, and a changed one is tried.

    Raises:
        InputError: there is no such table.
        PointerMovedError: somebody else imported it in the meantime.
    """
    pointer = lake.read_pointer(_pointer_name(path))
    before = {"days": [], "matched": 0, "clips": 0} if pointer is None else pointer.value
    problem = Skipped(table_name(find_table_file(path)), find_table_file(path).name, str(why))
    value = {**before, "inputs": _fingerprint_table(path), "set_aside": put_skipped_inputs(lake, [problem])}
    lake.move_pointer(_pointer_name(path), value, pointer)


def import_table(path: Path, lake: Lake, settings: Settings, now: datetime) -> TableImport:
    """Bring the rows of a table into the recordings and the log of events.

    Clips without a day of their own are filed under the day of the table's last change, but never before
    `recordings.first_day` nor after today. The events bear the row's `annotated_at`, else that change's time. To
    look again at rows that were set aside, save the table again.

    Raises:
        InputError: the table cannot be read at all.
        PointerMovedError: a day was published by somebody else in the meantime; run again.
    """
    path = find_table_file(path)
    name, pointer, fingerprint = table_name(path), lake.read_pointer(_pointer_name(path)), _fingerprint_table(path)
    if pointer is not None and pointer.value["inputs"] == fingerprint:
        return _build_table_import(lake, name, pointer.value, added=0)
    changed_at = min(read_modification_time(path, settings.zone), now.astimezone(settings.zone))
    day = max(changed_at.strftime("%Y-%m-%d"), settings.recordings.first_day)
    max_duration_s = settings.recordings.longest_segment_s
    problems: list[Skipped] = []
    consents = load_consents(settings, now)
    gate = TableConsentFilter(open_consent_filter(lake, consents), settings, now)
    targets, others = _match_rows_by_name(_read_past_rows(path, now, settings, problems), lake, settings)
    targets = [
        each for each in targets if not _skip_if_refused(each.row, gate.explain_text_refusal(each), name, problems)
    ]
    clips = _index_clips(read_table_clips(path, others, day, max_duration_s), problems)
    known = _find_known_audio(lake, clips.by_audio_sha256)
    clips = _filter_clips(clips, known, gate, name, problems)
    fresh = [each for sound, each in clips.by_audio_sha256.items() if sound not in known]
    places = {**clips.by_audio_sha256, **known}
    targets += [replace(places[each.audio_sha256], row=each.row) for each in clips.targets]
    targets = _drop_conflicting_rows(targets, name, problems)
    added_ids = {each.segment_id for each in fresh}
    for clip_day in sorted({each.day for each in fresh}):
        wanted = [each for each in fresh if each.day == clip_day]
        publish_day(
            lake, clip_day, _reread_segments(path, wanted, clip_day, max_duration_s), {}, [], settings.work_folder
        )
    days, added = sorted({each.day for each in targets}), 0
    for event_day in days:
        events = [
            _build_table_event(each, name, changed_at, settings) for each in targets if each.day == event_day
        ]
        added += append_events(lake, event_day, events, {}).added
    value = {
        "inputs": fingerprint,
        "days": days,
        "matched": sum(1 for each in targets if each.segment_id not in added_ids),
        "clips": len(fresh),
        "set_aside": put_skipped_inputs(lake, problems),
    }
    value = replace_withheld(
        value, {name: gate.awaited_entries} if gate.awaited_entries else {}, consents.signature
    )
    return _build_table_import(lake, name, lake.move_pointer(_pointer_name(path), value, pointer).value, added)


def _requeue_newly_consented_rows(path: Path, lake: Lake, consents: Consents) -> None:
    """Let the table count as changed where rows that it withheld may come in now; as cheap as for a day."""
    pointer = lake.read_pointer(_pointer_name(path))
    withheld = {} if pointer is None else pointer.value.get("withheld", {})
    if pointer is None or not withheld or consents.unchanged_since(pointer.value["consents"]):
        return
    come = any(consents.is_granted_for_table(table, entries) for table, entries in withheld.items())
    inputs = f"consent-{consents.digest}" if come else pointer.value["inputs"]
    with suppress(PointerMovedError):
        value = replace_withheld({**pointer.value, "inputs": inputs}, withheld, consents.signature)
        lake.move_pointer(pointer.name, value, pointer)


def _pointer_name(path: Path) -> str:
    return catalogue.TABLES.name(compute_digest(str(find_table_file(path).resolve()))[:16])


def _fingerprint_table(path: Path) -> str:
    try:
        found = find_table_file(path).stat()
    except OSError as error:
        raise InputError(f"table {path} cannot be read: {error.strerror}; mend annotation.tables") from error
    return compute_digest(["habla_ml.tables/2", found.st_size, found.st_mtime_ns])


def _build_table_import(lake: Lake, name: str, value: Mapping[str, Any], added: int) -> TableImport:
    return TableImport(
        name=name,
        days=tuple(value["days"]),
        matched=value["matched"],
        clips=value["clips"],
        added=added,
        skipped_inputs=read_skipped_inputs(lake, value["set_aside"]),
    )


def _match_rows_by_name(
    rows: list[TableRow], lake: Lake, settings: Settings
) -> tuple[list[RowTarget], list[TableRow]]:
    """Rows whose path ends in a session and a segment that the lake or Habla's folder holds, and the others."""
    targets: list[RowTarget] = []
    others: list[TableRow] = []
    ids_by_day: dict[str, frozenset[str]] = {}
    for row in rows:
        session, file_name = PurePosixPath(row.audio).parent.name, PurePosixPath(row.audio).name
        started = parse_session_start(session)
        if started is None or parse_segment_number(file_name) is None:
            others.append(row)
            continue
        day, identity = started.strftime("%Y-%m-%d"), segment_id(HABLA_SOURCE, session, file_name)
        if day not in ids_by_day:
            ids_by_day[day] = _load_segment_ids(lake, day)
        if identity in ids_by_day[day] or (settings.recordings.folder / session / file_name).is_file():
            targets.append(RowTarget(row, identity, session, day))
        else:
            others.append(row)
    return targets, others


def _load_segment_ids(lake: Lake, day: str) -> frozenset[str]:
    published = load_day(lake, day)
    if published is None:
        return frozenset()
    return frozenset(
        pq.read_table(lake.fetch_path(published.facts), columns=["segment_id"])["segment_id"].to_pylist()
    )


def _read_past_rows(path: Path, now: datetime, settings: Settings, problems: list[Skipped]) -> list[TableRow]:
    """The rows without those of a time to come: they would win over every later correction."""
    remarks: list[Skipped] = []
    rows, refused = read_table(path, remarks)
    problems += refused + remarks
    timely = []
    for row in rows:
        if row.annotated_at is None or to_utc(row.annotated_at, settings.zone) <= now + _CLOCK_TOLERANCE:
            timely.append(row)
        else:
            what = f"has annotated_at {row.annotated_at.isoformat()}, a time to come; mend the row"
            problems.append(Skipped(table_name(path), row.label, what))
    return timely


@dataclass(frozen=True)
class _ClipIndex:
    """The sounds of a table, without the audio, so that a table of any length fits."""

    by_audio_sha256: dict[str, RowTarget]
    """Sound → the first row that brings it."""
    targets: list[RowTarget]
    """Every row with the segment that its clip would be."""


def _index_clips(clips: Iterator[TableClip | Skipped], problems: list[Skipped]) -> _ClipIndex:
    found = _ClipIndex({}, [])
    for clip in clips:
        if isinstance(clip, Skipped):
            problems.append(clip)
            continue
        segment = clip.segment
        target = RowTarget(clip.row, segment.segment_id, segment.session_id, segment.day, segment.audio_sha256)
        found.by_audio_sha256.setdefault(segment.audio_sha256, target)
        found.targets.append(target)
    return found


def _filter_clips(
    clips: _ClipIndex, known: Mapping[str, RowTarget], gate: TableConsentFilter, name: str, problems: list[Skipped]
) -> _ClipIndex:
    """The sounds that may come in; one is kept out with all its rows where any of them says it is to be."""
    refused: dict[str, str] = {}
    for target in clips.targets:
        place = known.get(target.audio_sha256)
        reason = (
            gate.explain_clip_refusal(target)
            if place is None
            else gate.explain_text_refusal(replace(place, row=target.row))
        )
        if reason is not None:
            refused.setdefault(target.audio_sha256, reason)
    gate.save_tombstones()
    left = [
        each
        for each in clips.targets
        if not _skip_if_refused(each.row, refused.get(each.audio_sha256), name, problems)
    ]
    return _ClipIndex({sound: each for sound, each in clips.by_audio_sha256.items() if sound not in refused}, left)


def _skip_if_refused(row: TableRow, reason: str | None, name: str, problems: list[Skipped]) -> bool:
    """Set a row aside where there is a reason; returns whether there was."""
    if reason is not None:
        problems.append(Skipped(name, row.label, reason))
    return reason is not None


def _drop_conflicting_rows(targets: list[RowTarget], name: str, problems: list[Skipped]) -> list[RowTarget]:
    """The targets without rows that let one person say a second thing of one segment at the same time."""
    first: dict[tuple[str, str, datetime | None], RowTarget] = {}
    for target in targets:
        said = first.setdefault((target.segment_id, target.row.person, target.row.annotated_at), target)
        if said is not target:
            what = f"has the same sound as row {said.row.number}; name another person or another annotated_at"
            problems.append(Skipped(name, target.row.label, what))
    return list(first.values())


def _find_known_audio(lake: Lake, clips: Mapping[str, RowTarget]) -> dict[str, RowTarget]:
    """Sound → the same row, aimed at the segment that the lake already holds with that sound."""
    known: dict[str, RowTarget] = {}
    sounds = pa.array(list(clips), pa.string())
    columns = ["audio_sha256", "segment_id", "session_id", "day"]
    for each in catalogue.RECORDINGS.keys(lake) if clips else ():
        published = load_day(lake, each)
        if published is not None:
            table = pq.read_table(lake.fetch_path(published.facts), columns=columns)
            for row in table.filter(pc.is_in(table["audio_sha256"], sounds)).to_pylist():
                sound = row.pop("audio_sha256")
                known.setdefault(sound, RowTarget(clips[sound].row, **row))
    return known


def _reread_segments(
    path: Path, targets: list[RowTarget], day: str, max_duration_s: float
) -> Iterator[RecordedSegment]:
    """The segments of `targets` in the order of a day's rows, one at a time."""
    rows = [each.row for each in sorted(targets, key=lambda each: (each.session_id, each.row.number))]
    for clip in read_table_clips(path, rows, day, max_duration_s):
        if isinstance(clip, Skipped):
            raise InputError(
                f"{clip.session}, {clip.file} {clip.reason}; it changed during the import: run it again"
            )
        yield clip.segment


def _build_table_event(target: RowTarget, name: str, changed_at: datetime, settings: Settings) -> AnnotationEvent:
    said_at = target.row.annotated_at
    return AnnotationEvent(
        segment_id=target.segment_id,
        session_id=target.session_id,
        day=target.day,
        text=target.row.text,
        status=target.row.status,
        reason=target.row.reason,
        person=target.row.person,
        source=f"table:{name}",
        created_at=changed_at if said_at is None else to_utc(said_at, settings.zone),
        seen_text=None,
        model_version=target.row.model_version,
    )
