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

from habla_ml.annotation.admitted import open_words
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.gate import Gate, Target
from habla_ml.annotation.log import append_events
from habla_ml.annotation.tables import (
    TableClip,
    TableRow,
    modified_at,
    read_table,
    read_table_clips,
    table_file,
    table_name,
)
from habla_ml.consent.admission import Consents, consents_of, with_withheld
from habla_ml.errors import InputError, PointerMovedError
from habla_ml.lake import Lake, catalogue, digest_of
from habla_ml.recordings import HABLA, Segment, SetAside, load_day, publish_day, read_set_aside, segment_id
from habla_ml.recordings.days import put_set_aside
from habla_ml.recordings.sessions import segment_number, session_start, to_utc
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
    set_aside: tuple[SetAside, ...]
    """Rows that were left out, and unknown columns that were ignored."""


def table_changed(path: Path, lake: Lake) -> bool:
    """Whether `import_table` would do anything: the table's own size and time of change decide."""
    pointer = lake.pointer(_pointer_name(path))
    return pointer is None or pointer.value["inputs"] != _fingerprint(path)


def changed_tables(lake: Lake, settings: Settings, consents: Consents) -> dict[Path, str]:
    """The tables to import → the state in which they are; one whose withheld rows may come in now is among them.

    Raises:
        InputError: a table is not where the settings say, or the register cannot be read where rows of one wait.
    """
    found = {}
    for path in settings.annotation.tables:
        _call_for_late_consents(path, lake, consents)
        if table_changed(path, lake):
            pointer = lake.pointer(_pointer_name(path))
            found[path] = digest_of([_fingerprint(path), pointer and pointer.value["inputs"]])
    return found


def imported_days(path: Path, lake: Lake) -> tuple[str, ...]:
    """The days that the table spoke of when it was last imported."""
    pointer = lake.pointer(_pointer_name(path))
    return () if pointer is None else tuple(pointer.value["days"])


def last_import(path: Path, lake: Lake) -> TableImport | None:
    """What became of the table when it was last looked at, with what was set aside; None before the first time."""
    pointer = lake.pointer(_pointer_name(path))
    return None if pointer is None else _described(lake, table_name(table_file(path)), pointer.value, added=0)


def note_unreadable(path: Path, lake: Lake, why: InputError) -> None:
    """Remember that the table, as it is now, cannot be read; what it said before stays, and a changed one is tried.

    Raises:
        InputError: there is no such table.
        PointerMovedError: somebody else imported it in the meantime.
    """
    pointer = lake.pointer(_pointer_name(path))
    before = {"days": [], "matched": 0, "clips": 0} if pointer is None else pointer.value
    problem = SetAside(table_name(table_file(path)), table_file(path).name, str(why))
    value = {**before, "inputs": _fingerprint(path), "set_aside": put_set_aside(lake, [problem])}
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
    path = table_file(path)
    name, pointer, fingerprint = table_name(path), lake.pointer(_pointer_name(path)), _fingerprint(path)
    if pointer is not None and pointer.value["inputs"] == fingerprint:
        return _described(lake, name, pointer.value, added=0)
    changed_at = min(modified_at(path, settings.zone), now.astimezone(settings.zone))
    day = max(changed_at.strftime("%Y-%m-%d"), settings.recordings.first_day)
    longest_s = settings.recordings.longest_segment_s
    problems: list[SetAside] = []
    consents = consents_of(settings, now)
    gate = Gate(open_words(lake, consents), settings, now)
    targets, others = _matched_by_name(_timely_rows(path, now, settings, problems), lake, settings)
    targets = [each for each in targets if not _set_aside(each.row, gate.words_refused(each), name, problems)]
    clips = _survey(read_table_clips(path, others, day, longest_s), problems)
    known = _known_sounds(lake, clips.by_sound)
    clips = _admitted(clips, known, gate, name, problems)
    fresh = [each for sound, each in clips.by_sound.items() if sound not in known]
    places = {**clips.by_sound, **known}
    targets += [replace(places[each.audio_sha256], row=each.row) for each in clips.targets]
    targets = _one_word_each(targets, name, problems)
    added_ids = {each.segment_id for each in fresh}
    for clip_day in sorted({each.day for each in fresh}):
        wanted = [each for each in fresh if each.day == clip_day]
        publish_day(lake, clip_day, _read_again(path, wanted, clip_day, longest_s), {}, [], settings.work_folder)
    days, added = sorted({each.day for each in targets}), 0
    for event_day in days:
        events = [_event(each, name, changed_at, settings) for each in targets if each.day == event_day]
        added += append_events(lake, event_day, events, {}).added
    value = {
        "inputs": fingerprint,
        "days": days,
        "matched": sum(1 for each in targets if each.segment_id not in added_ids),
        "clips": len(fresh),
        "set_aside": put_set_aside(lake, problems),
    }
    value = with_withheld(value, {name: gate.waits_for} if gate.waits_for else {}, consents.note)
    return _described(lake, name, lake.move_pointer(_pointer_name(path), value, pointer).value, added)


def _call_for_late_consents(path: Path, lake: Lake, consents: Consents) -> None:
    """Let the table count as changed where rows that it withheld may come in now; as cheap as for a day."""
    pointer = lake.pointer(_pointer_name(path))
    withheld = {} if pointer is None else pointer.value.get("withheld", {})
    if pointer is None or not withheld or consents.are_as_noted(pointer.value["consents"]):
        return
    come = any(consents.have_come_for(table, entries) for table, entries in withheld.items())
    inputs = f"consent-{consents.digest}" if come else pointer.value["inputs"]
    with suppress(PointerMovedError):
        value = with_withheld({**pointer.value, "inputs": inputs}, withheld, consents.note)
        lake.move_pointer(pointer.name, value, pointer)


def _pointer_name(path: Path) -> str:
    return catalogue.TABLES.name(digest_of(str(table_file(path).resolve()))[:16])


def _fingerprint(path: Path) -> str:
    try:
        found = table_file(path).stat()
    except OSError as error:
        raise InputError(f"table {path} cannot be read: {error.strerror}; mend annotation.tables") from error
    return digest_of(["habla_ml.tables/2", found.st_size, found.st_mtime_ns])


def _described(lake: Lake, name: str, value: Mapping[str, Any], added: int) -> TableImport:
    return TableImport(
        name=name,
        days=tuple(value["days"]),
        matched=value["matched"],
        clips=value["clips"],
        added=added,
        set_aside=read_set_aside(lake, value["set_aside"]),
    )


def _matched_by_name(rows: list[TableRow], lake: Lake, settings: Settings) -> tuple[list[Target], list[TableRow]]:
    """Rows whose path ends in a session and a segment that the lake or Habla's folder holds, and the others."""
    targets: list[Target] = []
    others: list[TableRow] = []
    ids_by_day: dict[str, frozenset[str]] = {}
    for row in rows:
        session, file_name = PurePosixPath(row.audio).parent.name, PurePosixPath(row.audio).name
        started = session_start(session)
        if started is None or segment_number(file_name) is None:
            others.append(row)
            continue
        day, identity = started.strftime("%Y-%m-%d"), segment_id(HABLA, session, file_name)
        if day not in ids_by_day:
            ids_by_day[day] = _ids_of(lake, day)
        if identity in ids_by_day[day] or (settings.recordings.folder / session / file_name).is_file():
            targets.append(Target(row, identity, session, day))
        else:
            others.append(row)
    return targets, others


def _ids_of(lake: Lake, day: str) -> frozenset[str]:
    published = load_day(lake, day)
    if published is None:
        return frozenset()
    return frozenset(
        pq.read_table(lake.path_of(published.facts), columns=["segment_id"])["segment_id"].to_pylist()
    )


def _timely_rows(path: Path, now: datetime, settings: Settings, problems: list[SetAside]) -> list[TableRow]:
    """The rows without those of a time to come: they would win over every later correction."""
    remarks: list[SetAside] = []
    rows, refused = read_table(path, remarks)
    problems += refused + remarks
    timely = []
    for row in rows:
        if row.annotated_at is None or to_utc(row.annotated_at, settings.zone) <= now + _CLOCK_TOLERANCE:
            timely.append(row)
        else:
            what = f"has annotated_at {row.annotated_at.isoformat()}, a time to come; mend the row"
            problems.append(SetAside(table_name(path), row.label, what))
    return timely


@dataclass(frozen=True)
class _Survey:
    """The sounds of a table, without the audio, so that a table of any length fits."""

    by_sound: dict[str, Target]
    """Sound → the first row that brings it."""
    targets: list[Target]
    """Every row with the segment that its clip would be."""


def _survey(clips: Iterator[TableClip | SetAside], problems: list[SetAside]) -> _Survey:
    found = _Survey({}, [])
    for clip in clips:
        if isinstance(clip, SetAside):
            problems.append(clip)
            continue
        segment = clip.segment
        target = Target(clip.row, segment.segment_id, segment.session_id, segment.day, segment.audio_sha256)
        found.by_sound.setdefault(segment.audio_sha256, target)
        found.targets.append(target)
    return found


def _admitted(
    clips: _Survey, known: Mapping[str, Target], gate: Gate, name: str, problems: list[SetAside]
) -> _Survey:
    """The sounds that may come in; one is kept out with all its rows where any of them says it is to be."""
    refused: dict[str, str] = {}
    for target in clips.targets:
        place = known.get(target.audio_sha256)
        reason = gate.clip_refused(target) if place is None else gate.words_refused(replace(place, row=target.row))
        if reason is not None:
            refused.setdefault(target.audio_sha256, reason)
    gate.remember()
    left = [
        each for each in clips.targets if not _set_aside(each.row, refused.get(each.audio_sha256), name, problems)
    ]
    return _Survey({sound: each for sound, each in clips.by_sound.items() if sound not in refused}, left)


def _set_aside(row: TableRow, reason: str | None, name: str, problems: list[SetAside]) -> bool:
    """Set a row aside where there is a reason; returns whether there was."""
    if reason is not None:
        problems.append(SetAside(name, row.label, reason))
    return reason is not None


def _one_word_each(targets: list[Target], name: str, problems: list[SetAside]) -> list[Target]:
    """The targets without rows that let one person say a second thing of one segment at the same time."""
    first: dict[tuple[str, str, datetime | None], Target] = {}
    for target in targets:
        said = first.setdefault((target.segment_id, target.row.person, target.row.annotated_at), target)
        if said is not target:
            what = f"has the same sound as row {said.row.number}; name another person or another annotated_at"
            problems.append(SetAside(name, target.row.label, what))
    return list(first.values())


def _known_sounds(lake: Lake, clips: Mapping[str, Target]) -> dict[str, Target]:
    """Sound → the same row, aimed at the segment that the lake already holds with that sound."""
    known: dict[str, Target] = {}
    sounds = pa.array(list(clips), pa.string())
    columns = ["audio_sha256", "segment_id", "session_id", "day"]
    for each in catalogue.RECORDINGS.keys(lake) if clips else ():
        published = load_day(lake, each)
        if published is not None:
            table = pq.read_table(lake.path_of(published.facts), columns=columns)
            for row in table.filter(pc.is_in(table["audio_sha256"], sounds)).to_pylist():
                sound = row.pop("audio_sha256")
                known.setdefault(sound, Target(clips[sound].row, **row))
    return known


def _read_again(path: Path, targets: list[Target], day: str, longest_s: float) -> Iterator[Segment]:
    """The segments of `targets` in the order of a day's rows, one at a time."""
    rows = [each.row for each in sorted(targets, key=lambda each: (each.session_id, each.row.number))]
    for clip in read_table_clips(path, rows, day, longest_s):
        if isinstance(clip, SetAside):
            raise InputError(
                f"{clip.session}, {clip.file} {clip.reason}; it changed during the import: run it again"
            )
        yield clip.segment


def _event(target: Target, name: str, changed_at: datetime, settings: Settings) -> AnnotationEvent:
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
