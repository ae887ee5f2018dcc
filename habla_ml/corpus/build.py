"""Building a day of the corpus: every annotated segment's current transcript under the conventions.

Reads the day's facts and events, never its audio, so a change of conventions rewrites text only. Of several events
on one segment the newest wins, whoever said it and wherever; `unusable` is a word like any other, so it takes a
segment out until somebody types a newer text. Of two at the same instant the one with the larger event id wins,
which is arbitrary but the same everywhere. The others stay in the log, where `corpus.agreement` compares them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from habla_ml.annotation import load_events
from habla_ml.annotation.event_log import read_event_table
from habla_ml.audio import SILENCE_DBFS
from habla_ml.corpus.conventions import Conventions
from habla_ml.errors import CorpusError
from habla_ml.lake import Lake, catalogue, compute_digest
from habla_ml.recordings import PublishedDay, load_day
from habla_ml.recordings.speaker_labels import UNKNOWN_SPEAKER
from habla_ml.settings import CorpusSettings, Settings

CORPUS_SCHEMA: Final = pa.schema(
    [
        pa.field("segment_id", pa.string(), nullable=False),
        pa.field("session_id", pa.string(), nullable=False),
        pa.field("day", pa.string(), nullable=False),
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("speaker", pa.string(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("loudness_dbfs", pa.float64(), nullable=False),
        pa.field("audio_sha256", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("sentence", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("problem", pa.string()),
        pa.field("violations", pa.list_(pa.string())),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("person", pa.string(), nullable=False),
        pa.field("annotated_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)

_BUILDER_VERSION: Final = "habla_ml.corpus/2"
_BUILD_BATCH_ROWS: Final = 65_536
_SEGMENT_METADATA_COLUMNS: Final = (
    "segment_id",
    "session_id",
    "day",
    "file_name",
    "number",
    "speaker",
    "duration_s",
    "loudness_dbfs",
    "audio_sha256",
)


@dataclass(frozen=True)
class TextProblem:
    """An annotated segment that is no usable reference, and why."""

    segment_id: str
    session_id: str
    file_name: str
    problem: str


@dataclass(frozen=True)
class CorpusDay:
    """One day of text, as its pointer says."""

    day: str
    parquet: str
    """Object id of the day's text: one row for each annotated segment, usable or not."""
    recordings: str
    """Object id of the recordings (with audio) whose segments these are."""
    facts: str
    annotations: str
    """Object id of the events that were read."""
    conventions: str
    conventions_digest: str
    inputs: str
    """Digest of everything that decides the rows."""
    counts: Mapping[str, int]
    """`segments` recorded, `annotated`, `usable`, `corrected`, `confirmed`, `unusable`, and events
    `without_recording` (their audio never arrived or was set aside)."""
    problems: Mapping[str, int]
    """Problem → annotated segments that have it."""
    hours: float
    """Usable annotated audio."""
    violations: Mapping[str, int] = field(default_factory=dict)
    """Requirement of the conventions → annotated segments whose text breaks it; empty in days written before
    requirements were looked at."""


def load_corpus_day(lake: Lake, day: str) -> CorpusDay | None:
    """What the lake holds of the day's text, or None."""
    pointer = lake.read_pointer(catalogue.CORPUS.name(day))
    return None if pointer is None else CorpusDay(day=day, **pointer.value)


def build_day(lake: Lake, day: str, conventions: Conventions, settings: Settings) -> CorpusDay:
    """Write the day's text under the conventions; the same inputs do no work.

    Raises:
        CorpusError: the day has no recordings yet.
        PointerMovedError: somebody else built the day in the meantime; run again.
    """
    recordings = load_day(lake, day)
    if recordings is None:
        raise CorpusError(f"day {day} has no recordings in {lake.url}; materialise raw_recordings for it first")
    events = load_events(lake, day)
    annotations = events.parquet if events else ""
    inputs = compute_digest(
        [_BUILDER_VERSION, recordings.facts, annotations, conventions.digest, _list_bounds(settings.corpus)]
    )
    pointer = lake.read_pointer(catalogue.CORPUS.name(day))
    if pointer is not None and pointer.value["inputs"] == inputs:
        return CorpusDay(day=day, **pointer.value)
    table, without_recording = read_annotated_segments(lake, recordings, annotations)
    rows = make_corpus_rows(table, conventions, settings.corpus)
    out = io.BytesIO()
    pq.write_table(rows, out, compression="zstd", row_group_size=_BUILD_BATCH_ROWS)
    value: dict[str, Any] = {
        "parquet": lake.put_bytes(out.getvalue()),
        "recordings": recordings.parquet,
        "facts": recordings.facts,
        "annotations": annotations,
        "conventions": conventions.title,
        "conventions_digest": conventions.digest,
        "inputs": inputs,
        **_count_totals(rows, recordings.segments, without_recording),
    }
    return CorpusDay(day=day, **lake.move_pointer(catalogue.CORPUS.name(day), value, pointer).value)


def read_text_problems(lake: Lake, day: CorpusDay, most: int = 100) -> tuple[TextProblem, ...]:
    """The first `most` annotated segments of the day that are no usable references."""
    columns = ["segment_id", "session_id", "file_name", "problem"]
    table = pq.read_table(io.BytesIO(lake.get_bytes(day.parquet)), columns=columns)
    flagged = table.filter(pc.is_valid(table["problem"])).slice(0, most)
    return tuple(TextProblem(**row) for row in flagged.to_pylist())


def _list_bounds(settings: CorpusSettings) -> list[float]:
    return [settings.longest_transcript_chars, settings.slowest_chars_per_s, settings.fastest_chars_per_s]


def read_annotated_segments(lake: Lake, recordings: PublishedDay, annotations: str) -> tuple[pa.Table, int]:
    """Facts beside each segment's winning event, in the order of the facts; and the events left without audio.

    Args:
        lake: where the day is.
        recordings: the day of recordings; only its facts are read.
        annotations: object id of the day's events, or empty where there are none.
    """
    if not annotations:
        return _JOINED_SCHEMA.empty_table(), 0
    events = read_event_table(lake, annotations)
    winners = events.filter(_mask_last_of_each(events["segment_id"])).select(list(_EVENT_COLUMNS))
    facts = pq.read_table(lake.fetch_path(recordings.facts), columns=list(_SEGMENT_METADATA_COLUMNS))
    at = pc.index_in(facts["segment_id"], value_set=winners["segment_id"])
    annotated = facts.filter(pc.is_valid(at))
    said = winners.take(pc.drop_null(at))
    for name in _EVENT_COLUMNS[1:]:
        annotated = annotated.append_column(name, said[name])
    return annotated.cast(_JOINED_SCHEMA), winners.num_rows - annotated.num_rows


_EVENT_COLUMNS: Final = ("segment_id", "text", "status", "event_id", "source", "person", "created_at")
_JOINED_SCHEMA: Final = pa.schema(
    [
        *(pa.field(name, CORPUS_SCHEMA.field(name).type) for name in _SEGMENT_METADATA_COLUMNS),
        *(pa.field(name, pa.string()) for name in ("text", "status", "event_id", "source", "person")),
        pa.field("created_at", pa.timestamp("us", tz="UTC")),
    ]
)


def _mask_last_of_each(segment_ids: pa.ChunkedArray) -> pa.Array:
    """True where the next row is another segment's: the log is sorted by segment, time and event id."""
    ids = segment_ids.combine_chunks()
    if not len(ids):
        return pa.array([], pa.bool_())
    return pa.concat_arrays([pc.not_equal(ids[:-1], ids[1:]), pa.array([True])])


def make_corpus_rows(table: pa.Table, conventions: Conventions, settings: CorpusSettings) -> pa.Table:
    """The corpus's rows of what `read_annotated_segments` returned: sentence, problem and violations beside text as typed.

    A segment that a person called unusable has no violations: its text is no reference.
    """
    parts = [
        _make_corpus_batch(part, conventions, settings)
        for part in table.to_batches(max_chunksize=_BUILD_BATCH_ROWS)
    ]
    return pa.Table.from_batches(parts, schema=CORPUS_SCHEMA)


def _make_corpus_batch(rows: pa.RecordBatch, conventions: Conventions, settings: CorpusSettings) -> pa.RecordBatch:
    sentences, problems, violations = [], [], []
    # Many a segment is a "Sí." or a "Vale.": each text is read once.
    readings = {text: conventions.read(text) for text in pc.unique(rows["text"]).to_pylist()}
    columns = (rows[name].to_pylist() for name in ("text", "status", "duration_s", "loudness_dbfs"))
    for text, status, duration_s, loudness_dbfs in zip(*columns, strict=True):
        reading = readings[text]
        problem = "unusable" if status == "unusable" else reading.problem
        sentences.append(reading.sentence)
        problems.append(problem or _find_mismatch(reading.sentence, duration_s, loudness_dbfs, settings))
        violations.append(() if status == "unusable" else reading.violations)
    made = {
        "speaker": pc.fill_null(rows["speaker"], UNKNOWN_SPEAKER),
        "sentence": pa.array(sentences, pa.string()),
        "problem": pa.array(problems, pa.string()),
        "violations": pa.array(violations, pa.list_(pa.string())),
        "annotated_at": rows["created_at"],
    }
    columns_in_order = [made[name] if name in made else rows[name] for name in CORPUS_SCHEMA.names]
    return pa.RecordBatch.from_arrays(columns_in_order, schema=CORPUS_SCHEMA)


def _find_mismatch(sentence: str, duration_s: float, loudness_dbfs: float, settings: CorpusSettings) -> str | None:
    """Why text and audio cannot belong together, or None."""
    if loudness_dbfs <= SILENCE_DBFS:
        return "digital silence"
    if len(sentence) > settings.longest_transcript_chars:
        return "too long"
    per_second = len(sentence) / duration_s
    if per_second > settings.fastest_chars_per_s:
        return "too fast"
    return "too slow" if per_second < settings.slowest_chars_per_s else None


def _count_totals(rows: pa.Table, segments: int, without_recording: int) -> dict[str, Any]:
    statuses = _count_values(rows["status"])
    usable = rows.filter(pc.is_null(rows["problem"]))
    return {
        "counts": {
            "segments": segments,
            "annotated": rows.num_rows,
            "usable": usable.num_rows,
            **{status: statuses.get(status, 0) for status in ("corrected", "confirmed", "unusable")},
            "without_recording": without_recording,
        },
        "problems": _count_values(rows["problem"]),
        "violations": _count_values(pc.list_flatten(rows["violations"])),
        "hours": round((pc.sum(usable["duration_s"]).as_py() or 0.0) / 3600, 9),
    }


def _count_values(names: pa.ChunkedArray) -> dict[str, int]:
    """Each name that is not null, and how often it stands there, by name."""
    return dict(
        sorted((each["values"], each["counts"]) for each in pc.value_counts(names.drop_null()).to_pylist())
    )
