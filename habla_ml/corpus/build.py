"""The corpus of a day: the current transcript of every annotated segment under the conventions.

The builder reads the day's segment metadata and annotation events, never audio, so changed conventions rewrite text
only. The newest event of a segment decides, whatever its source; `corpus.references` has the rule for blind texts, which
texts of other people do not replace. Answers that their author withdrew do not count. The newest event that names a speaker
replaces the recording's label. An `unusable` event excludes the
segment until a newer event gives a text. Of two events at the same instant, the larger event id decides: arbitrary, but
the same on every machine. The other events stay in the log, where `corpus.agreement` compares them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from habla_ml.annotation.event_log import find_events_id, load_events, read_valid_events
from habla_ml.annotation.source import SourceChanges
from habla_ml.audio import SILENCE_DBFS
from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.references import select_named_speakers, select_references
from habla_ml.errors import CorpusError, IsolatedError, isolate
from habla_ml.lake import Lake, PointerReader, catalogue, compute_digest
from habla_ml.lake.shards import iterate_batches, read_rows
from habla_ml.lake.table import arrow_schema, open_table, put_table, read_table
from habla_ml.recordings.change_detection import ChangedDay
from habla_ml.recordings.days import PublishedDay, find_metadata_id, load_day
from habla_ml.recordings.segments import SEGMENT_COLUMNS, SegmentMetadata
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER
from habla_ml.settings import CorpusSettings, Settings

_BUILDER_VERSION: Final = "habla_ml.corpus/3"
_BUILD_BATCH_ROWS: Final = 65_536
_EVENT_COLUMNS: Final = ("segment_id", "text", "status", "event_id", "source", "person", "created_at", "is_blind")


@dataclass(frozen=True, kw_only=True)
class CorpusRow(SegmentMetadata):
    """One row of a day's text: an annotated segment, usable or not."""

    speaker: str
    """The recording's label, or who a person said speaks."""
    day: str
    file_name: str
    number: int
    text: str
    """As typed."""
    sentence: str
    """The text under the conventions."""
    status: str
    """`corrected`, `confirmed` or `unusable`."""
    problem: str | None
    violations: tuple[str, ...] | None
    event_id: str
    source: str
    person: str
    annotated_at: datetime
    is_blind: bool | None
    """Whether the text was typed without a text in view; None counts as False."""


CORPUS_SCHEMA: Final = arrow_schema(CorpusRow, order=("segment_id", "session_id", "day", "file_name", "number"))
_ANNOTATED_SCHEMA: Final = pa.schema(
    [each.with_nullable(True) for each in CORPUS_SCHEMA if each.name not in ("sentence", "problem", "violations")]
)


@dataclass(frozen=True)
class TextProblem:
    """An annotated segment that is no usable reference, with the reason."""

    segment_id: str
    session_id: str
    file_name: str
    problem: str


@dataclass(frozen=True)
class CorpusDay:
    """One day of text, as stored in its pointer; `recordings` and `annotations` are object ids too."""

    day: str
    parquet: str
    """Object id of the day's text: one row for each annotated segment, usable or not."""
    recordings: str
    metadata: str
    """Object id of the segment metadata of these recordings; stored as `facts`."""
    annotations: str
    conventions: str
    conventions_digest: str
    inputs: str
    """Digest of everything that decides the rows."""
    counts: Mapping[str, int]
    """`segments` recorded, `annotated`, `usable`, `corrected`, `confirmed`, `unusable`, and segments with events
    `without_recording` (their audio is missing or was skipped)."""
    problems: Mapping[str, int]
    """Problem → annotated segments that have it."""
    hours: float
    """Usable annotated audio; a sound counts once, also where copies of a session have it."""
    violations: Mapping[str, int] = field(default_factory=dict)
    """Requirement of the conventions → annotated segments that break it; empty in days of older builders."""


def load_corpus_day(pointers: PointerReader, day: str) -> CorpusDay | None:
    """Return the day's text from the lake, or None."""
    pointer = pointers.read_pointer(catalogue.CORPUS.name(day))
    return None if pointer is None else _parse_pointer(pointer.value, day)


def list_corpus_days(lake: Lake) -> list[CorpusDay]:
    """Return the text of every day in the lake, sorted by day; costs one listing, and one read for each that moved."""
    pointers = catalogue.CORPUS.read(lake)
    days = [pointer.name.removeprefix(catalogue.CORPUS.prefix) for pointer in pointers.list_pointers()]
    return [text for day in days if (text := load_corpus_day(pointers, day)) is not None]


def build_day(lake: Lake, day: str, conventions: Conventions, settings: Settings) -> CorpusDay:
    """Write the day's text under the conventions; unchanged inputs cause no work.

    Raises:
        CorpusError: The day has no recordings yet.
        PointerMovedError: Another process built the day at the same time; run again.
    """
    recordings = load_day(lake, day)
    if recordings is None:
        raise CorpusError(f"day {day} has no recordings in {lake.url}; materialise raw_recordings for it first")
    events, corpus = load_events(lake, day), settings.corpus
    annotations = events.parquet if events else ""
    bounds = [corpus.longest_transcript_chars, corpus.slowest_chars_per_s, corpus.fastest_chars_per_s]
    inputs = compute_digest([_BUILDER_VERSION, recordings.metadata, annotations, conventions.digest, bounds])
    pointer = lake.read_pointer(catalogue.CORPUS.name(day))
    if pointer is not None and pointer.value["inputs"] == inputs:
        return _parse_pointer(pointer.value, day)
    table, without_recording = read_annotated_segments(lake, recordings, annotations)
    rows = make_corpus_rows(table, conventions, corpus)
    value: dict[str, Any] = {
        "parquet": put_table(lake, rows),
        "recordings": recordings.parquet,
        "facts": recordings.metadata,
        "annotations": annotations,
        "conventions": conventions.title,
        "conventions_digest": conventions.digest,
        "inputs": inputs,
        **compute_totals(rows, recordings.segments, without_recording),
    }
    return _parse_pointer(lake.move_pointer(catalogue.CORPUS.name(day), value, pointer).value, day)


def _parse_pointer(value: Mapping[str, Any], day: str) -> CorpusDay:
    others = dict(value)
    return CorpusDay(day=day, metadata=others.pop("facts"), **others)


def read_corpus_rows(lake: Lake, day: CorpusDay, columns: Sequence[str]) -> pa.Table:
    """Return columns of a day's text; the columns that an older builder did not write are null."""
    file = open_table(lake, day.parquet)
    table = file.read([name for name in columns if name in file.schema_arrow.names])
    for name in columns:
        if name not in table.column_names:
            kind = CORPUS_SCHEMA.field(name).type
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    return table.select(list(columns))


def iterate_corpus_batches(lake: Lake, day: CorpusDay, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield columns of a day's text in batches, as `read_corpus_rows` returns them."""
    for batch in iterate_batches(lake, day.parquet, columns):
        found = [
            batch[name] if name in batch.schema.names else pa.nulls(batch.num_rows, CORPUS_SCHEMA.field(name).type)
            for name in columns
        ]
        yield pa.record_batch(found, list(columns))


def read_text_problems(lake: Lake, day: CorpusDay, most: int = 100) -> tuple[TextProblem, ...]:
    """Return the first `most` annotated segments of the day that are no usable references."""
    columns = ["segment_id", "session_id", "file_name", "problem"]
    table = read_table(lake, day.parquet, columns)
    flagged = table.filter(pc.is_valid(table["problem"])).slice(0, most)
    return tuple(TextProblem(**row) for row in flagged.to_pylist())


def find_outdated_days(
    lake: Lake, changes: Iterable[SourceChanges], errors: list[IsolatedError] | None = None
) -> Iterator[ChangedDay]:
    """Yield the days to build again, in order: a source has unread input, or the text is older than what it is from.

    A day without recordings in the lake waits for them, unless unread input brings clips. With `errors`, a day whose
    pointers cannot be read is added to it and does not stop the others. Changed conventions do not make a day outdated
    here: a person starts that backfill.
    Costs three listings, and one read for each pointer that moved.
    """
    unread: dict[str, list[str]] = defaultdict(list)
    with_clips = set()
    for each in (day for source in changes for day in source.days):
        unread[each.day] += [each.unread] if each.unread else []
        with_clips.update([each.day] if each.brings_clips else [])
    families = (catalogue.RECORDINGS, catalogue.ANNOTATIONS, catalogue.CORPUS)
    day_pointers, log_pointers, text_pointers = (family.read(lake, unread) for family in families)
    for day in sorted(unread):
        outdated = None
        with isolate(day, errors):
            metadata_id = find_metadata_id(day_pointers, day)
            if metadata_id is not None or day in with_clips:
                events_id = find_events_id(log_pointers, day)
                text = text_pointers.read_pointer(catalogue.CORPUS.name(day))
                is_built = text is not None and (text.value["annotations"], text.value["facts"]) == (
                    events_id,
                    metadata_id,
                )
                if unread[day] or not is_built:
                    outdated = ChangedDay(day, compute_digest([unread[day], metadata_id, events_id]))
        if outdated is not None:
            yield outdated


def read_annotated_segments(lake: Lake, recordings: PublishedDay, annotations: str) -> tuple[pa.Table, int]:
    """Join the metadata of each annotated segment with the event that decides, in the order of the metadata.

    Also return the number of annotated segments without a recording. `annotations` is the object id of the day's
    events, or empty.
    """
    if not annotations:
        return _ANNOTATED_SCHEMA.empty_table(), 0
    events = read_valid_events(lake, annotations)
    latest = select_references(events).select(list(_EVENT_COLUMNS))
    columns = [*SEGMENT_COLUMNS, "day", "file_name", "number"]
    metadata = read_rows(lake, recordings.metadata, columns)
    position = pc.index_in(metadata["segment_id"], value_set=latest["segment_id"])
    annotated = metadata.filter(pc.is_valid(position))
    matching = latest.take(pc.drop_null(position))
    for name in _EVENT_COLUMNS[1:]:
        annotated = annotated.append_column("annotated_at" if name == "created_at" else name, matching[name])
    annotated = _name_speakers(annotated, select_named_speakers(events))
    return annotated.select(_ANNOTATED_SCHEMA.names).cast(_ANNOTATED_SCHEMA), latest.num_rows - annotated.num_rows


def _name_speakers(rows: pa.Table, named: pa.Table) -> pa.Table:
    """Return the rows with the speakers that people named in place of the recordings' labels."""
    if not named.num_rows:
        return rows
    position = pc.index_in(rows["segment_id"], value_set=named["segment_id"])
    speakers = pc.coalesce(named["speaker"].take(position), rows["speaker"])
    return rows.set_column(rows.column_names.index("speaker"), "speaker", speakers)


def make_corpus_rows(table: pa.Table, conventions: Conventions, settings: CorpusSettings) -> pa.Table:
    """Return the result of `read_annotated_segments` with sentence, problem and violations of each text.

    An unusable segment has no violations, because its text is no reference.
    """
    parts = table.to_batches(max_chunksize=_BUILD_BATCH_ROWS)
    rows = [_make_corpus_batch(part, conventions, settings) for part in parts]
    return pa.Table.from_batches(rows, schema=CORPUS_SCHEMA)


def _make_corpus_batch(rows: pa.RecordBatch, conventions: Conventions, settings: CorpusSettings) -> pa.RecordBatch:
    sentences, problems, violations = [], [], []
    # Short texts ("Sí.", "Vale.") repeat often, so each distinct text is normalised once.
    readings = {text: conventions.read(text) for text in pc.unique(rows["text"]).to_pylist()}
    columns = (rows[name].to_pylist() for name in ("text", "status", "duration_s", "loudness_dbfs"))
    for text, status, duration_s, loudness_dbfs in zip(*columns, strict=True):
        reading = readings[text]
        problem = "unusable" if status == "unusable" else reading.problem
        sentences.append(reading.sentence)
        problems.append(problem or _find_mismatch(reading.sentence, duration_s, loudness_dbfs, settings))
        violations.append(() if status == "unusable" else reading.violations)
    computed = {
        "speaker": pc.fill_null(rows["speaker"], UNKNOWN_SPEAKER),
        "sentence": pa.array(sentences, pa.string()),
        "problem": pa.array(problems, pa.string()),
        "violations": pa.array(violations, pa.list_(pa.string())),
    }
    columns_in_order = [computed[name] if name in computed else rows[name] for name in CORPUS_SCHEMA.names]
    return pa.RecordBatch.from_arrays(columns_in_order, schema=CORPUS_SCHEMA)


def _find_mismatch(sentence: str, duration_s: float, loudness_dbfs: float, settings: CorpusSettings) -> str | None:
    """Return why text and audio cannot belong together, or None."""
    if loudness_dbfs <= SILENCE_DBFS:
        return "digital silence"
    if len(sentence) > settings.longest_transcript_chars:
        return "too long"
    per_second = len(sentence) / duration_s
    if per_second > settings.fastest_chars_per_s:
        return "too fast"
    return "too slow" if per_second < settings.slowest_chars_per_s else None


def compute_totals(rows: pa.Table, segments: int, without_recording: int) -> dict[str, Any]:
    """Return `counts`, `problems`, `violations` and `hours` of a day, as its pointer stores them.

    `rows` needs the columns status, problem, audio_sha256, duration_s and, except in older days, violations. `segments`
    counts the recorded segments of the day, `without_recording` the annotated ones without a recording.
    """
    statuses = _count_values(rows["status"])
    usable = rows.filter(pc.is_null(rows["problem"]))
    sounds = usable.group_by("audio_sha256", use_threads=False).aggregate([("duration_s", "max")])
    has_violations = "violations" in rows.column_names
    return {
        "counts": {
            "segments": segments,
            "annotated": rows.num_rows,
            "usable": usable.num_rows,
            **{status: statuses.get(status, 0) for status in ("corrected", "confirmed", "unusable")},
            "without_recording": without_recording,
        },
        "problems": _count_values(rows["problem"]),
        "violations": _count_values(pc.list_flatten(rows["violations"])) if has_violations else {},
        "hours": round((pc.sum(sounds["duration_s_max"]).as_py() or 0.0) / 3600, 9),
    }


def _count_values(names: pa.ChunkedArray) -> dict[str, int]:
    """Return how often each name that is not null occurs, sorted by name."""
    counted = pc.value_counts(names.drop_null()).to_pylist()
    return dict(sorted((each["values"], each["counts"]) for each in counted))
