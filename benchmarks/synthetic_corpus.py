"""Generate corpora for the benchmarks: segment metadata and annotation events of any size, without audio."""

from __future__ import annotations

import hashlib
import io
import uuid
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.annotation.events import EVENT_SCHEMA as EVENTS
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.corpus.stored_fingerprints import store_fingerprints
from habla_ml.demo.grammar import SpeechRegister, generate_sentence
from habla_ml.lake import DirectoryStore, Lake, catalogue
from habla_ml.recordings.segments import (
    ROW_GROUP_SIZE,
    SEGMENT_METADATA_SCHEMA,
    SEGMENT_SCHEMA,
    RecordedSegment,
    segment_id,
)
from habla_ml.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
CONVENTIONS_FOLDER = ROOT / "configs" / "conventions"
ANNOTATED_AT = datetime(2026, 3, 1, tzinfo=UTC)
VOICES = 40
QUIRKS = ("{}...", "Eh, {}", "{} [noise]", "[risas] {}", "«{}»", "{}  ¿no ?", "{} 3", "  {}", "{}\u200b", "¿¿{}??")


@dataclass(frozen=True)
class CorpusShape:
    """Size and coverage of a generated corpus."""

    segments: int
    segments_per_day: int = 1_500
    segments_per_lesson: int = 300
    transcribed_share: float = 1.0
    """Share of the segments with a transcript."""
    twice_transcribed_share: float = 0.0
    """Share of those with a second transcript; half of these differ."""


def write_corpus(lake: Lake, shape: CorpusShape) -> list[str]:
    """Publish metadata and events; return the days. The same shape gives the same corpus."""
    rng, days = np.random.default_rng(20260216), list[str]()
    audio = put_table(lake, SEGMENT_SCHEMA.empty_table(), ROW_GROUP_SIZE)
    for start in range(0, shape.segments, shape.segments_per_day):
        day = (date(2026, 1, 1) + timedelta(days=len(days))).isoformat()
        _write_day(
            lake, day, generate_texts(min(shape.segments_per_day, shape.segments - start), rng), audio, shape, rng
        )
        days.append(day)
    return days


def generate_texts(count: int, rng: np.random.Generator) -> list[str]:
    """Return sentences of the demo's grammar, one in five with a feature that conventions change."""
    pool = [generate_sentence(list(SpeechRegister)[number % 2], rng) for number in range(min(20_000, 10 * count))]
    made = []
    for one, other, quirk in zip(
        *(rng.integers(len(pool), size=(2, count))), rng.integers(50, size=count), strict=True
    ):
        text = f"{pool[one]} {pool[other]}" if quirk % 2 else pool[one]
        made.append(QUIRKS[quirk].format(text) if quirk < len(QUIRKS) else text)
    return made


def put_table(lake: Lake, table: pa.Table, row_group: int) -> str:
    """Publish a table as parquet; return its object id."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", row_group_size=row_group)
    return lake.put_bytes(out.getvalue())


def make_segment(source: str, session: str, day: str, number: int, speaker: str, audio: bytes) -> RecordedSegment:
    """Return a segment of a recording with bytes in place of FLAC, which differ in their start."""
    empty: dict[str, Any] = dict.fromkeys(
        ("recorded_at", "direction", "machine_text", "machine_confidence", "asr_status")
    )
    return RecordedSegment(
        segment_id=segment_id(source, session, str(number)),
        session_id=session,
        speaker=speaker,
        duration_s=3.0,
        loudness_dbfs=-20.0,
        audio_sha256=audio[:32].hex(),
        source=source,
        day=day,
        file_name=str(number),
        number=number,
        audio=audio,
        peak_dbfs=-3.0,
        clipped_share=0.0,
        **empty,
    )


def open_lake(root: Path) -> Lake:
    """Open the generated lake below a folder."""
    return Lake(DirectoryStore(root / "lake"), root / "cache")


def settings_of(root: Path) -> Settings:
    """Return settings for the lake below a folder."""
    tree = {
        "profile": "bench",
        "work_folder": str(root / "work"),
        "lake": {"url": str(root / "lake")},
        "recordings": {"folder": str(root)},
        "corpus": {"conventions": str(CONVENTIONS_FOLDER / "orthographic-v1.yaml")},
        "training": {"recipe": str(ROOT / "configs" / "recipes" / "demo-full.yaml")},
        "release": {"store": {"url": str(root / "cdn")}},
    }
    return Settings.model_validate(tree)


def _write_day(
    lake: Lake, day: str, typed: list[str], audio: str, shape: CorpusShape, rng: np.random.Generator
) -> None:
    """Write one day: metadata in session order, events in order of segment ids."""
    facts = _generate_segment_metadata(day, typed, shape, rng)
    table = put_table(lake, pa.table(facts, schema=SEGMENT_METADATA_SCHEMA), ROW_GROUP_SIZE)
    recordings = {"parquet": audio, "facts": table, "inputs": {}, "set_aside": lake.put_json([])}
    totals = {
        "segments": len(typed),
        "sessions": len(set(facts["session_id"])),
        "hours": float(np.sum(facts["duration_s"])) / 3600,
    }
    lake.move_pointer(catalogue.RECORDINGS.name(day), {**recordings, **totals}, None)
    first = rng.random(len(typed)) < shape.transcribed_share
    second = first & (rng.random(len(typed)) < shape.twice_transcribed_share)
    parts = [_generate_events(facts, typed, first, "Marta", ANNOTATED_AT)]
    if second.any():
        others = [text if at % 2 else typed[at - 1] for at, text in enumerate(typed)]
        parts.append(_generate_events(facts, others, second, "Luis", ANNOTATED_AT + timedelta(hours=1)))
    events = pa.concat_tables(parts).sort_by([("segment_id", "ascending"), ("created_at", "ascending")])
    value = {"parquet": put_table(lake, events, 65_536), "inputs": {}, "events": events.num_rows}
    lake.move_pointer(catalogue.ANNOTATIONS.name(day), {**value, "set_aside": lake.put_json([])}, None)
    store_fingerprints(lake, day, ((sound, np.zeros(0, np.uint32)) for sound in facts["audio_sha256"]))


def _generate_segment_metadata(
    day: str, typed: list[str], shape: CorpusShape, rng: np.random.Generator
) -> dict[str, Any]:
    count, prefix = len(typed), day.replace("-", "")
    ids = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in typed]
    return {
        **{field.name: [None] * count for field in SEGMENT_METADATA_SCHEMA},
        "segment_id": ids,
        "source": ["habla"] * count,
        "session_id": [f"{at // shape.segments_per_lesson:05d}_{prefix}_090000" for at in range(count)],
        "day": [day] * count,
        "file_name": [f"segment_{at % shape.segments_per_lesson + 1:03d}.wav" for at in range(count)],
        "number": [at % shape.segments_per_lesson + 1 for at in range(count)],
        "audio_sha256": [hashlib.sha256(each.encode()).hexdigest() for each in ids],
        "duration_s": rng.uniform(2, 4, count),
        "speaker": [f"Voz {at}" for at in rng.integers(VOICES, size=count)],
        "machine_text": typed,
        "machine_confidence": rng.uniform(0.3, 1, count),
        **{name: rng.uniform(-40, -20, count) for name in ("loudness_dbfs", "peak_dbfs")},
        "clipped_share": [0.0] * count,
    }


def _generate_events(
    facts: dict[str, Any], typed: list[str], is_transcribed: Any, person: str, at: datetime
) -> pa.Table:
    """Return events of the segments where `is_transcribed` is true."""
    chosen = np.flatnonzero(is_transcribed)
    columns: dict[str, Any] = {
        **{name: [facts[name][each] for each in chosen] for name in ("segment_id", "session_id", "day")},
        "text": [typed[each] for each in chosen],
    }
    columns["event_id"] = [hashlib.sha256(f"{person} {each}".encode()).hexdigest() for each in columns["segment_id"]]
    defaults = {each.name: each.default for each in fields(AnnotationEvent) if each.default is not MISSING}
    same = {"status": "corrected", "reason": "", "source": "habla", "person": person, "created_at": at, "round": 0}
    same = {**defaults, **same, "seen_text": None}
    arrays = [pa.array(columns.get(each.name) or [same[each.name]] * len(chosen), each.type) for each in EVENTS]
    return pa.table(arrays, schema=EVENTS)
