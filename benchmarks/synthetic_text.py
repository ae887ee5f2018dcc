"""Generate the text of large corpora directly, as days with text, metadata and fingerprints, without events and audio."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from synthetic_corpus import VOICES, generate_texts, put_table

from habla_ml.audio.fingerprint import FINGERPRINT_FORMAT
from habla_ml.corpus.build import CORPUS_SCHEMA
from habla_ml.corpus.conventions import Conventions
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings.segments import SEGMENT_METADATA_SCHEMA, SEGMENT_SCHEMA

ANNOTATED_AT = datetime(2026, 3, 1, tzinfo=UTC)
SENTENCES = 20_000
FINGERPRINT_SCHEMA = pa.schema([("audio_sha256", pa.string()), ("words", pa.binary())])


@dataclass(frozen=True)
class TextShape:
    """Size of a corpus of text."""

    segments: int
    segments_per_day: int
    segments_per_session: int = 300


def write_text(lake: Lake, shape: TextShape, conventions: Conventions) -> None:
    """Publish the days; the same shape gives the same corpus. Every segment is usable and has its own sound."""
    rng = np.random.default_rng(20260216)
    audio = put_table(lake, SEGMENT_SCHEMA.empty_table(), 256)
    pool = pa.array(generate_texts(SENTENCES, rng), pa.string())
    for number, start in enumerate(range(0, shape.segments, shape.segments_per_day)):
        day = (date(2026, 1, 1) + timedelta(days=number)).isoformat()
        count = min(shape.segments_per_day, shape.segments - start)
        columns = _generate_columns(day, count, shape.segments_per_session, pool, rng)
        metadata = put_table(lake, _make_table(SEGMENT_METADATA_SCHEMA, columns, count), 65_536)
        _move_day(lake, day, audio, metadata, count)
        text = put_table(lake, _make_table(CORPUS_SCHEMA, columns, count), 65_536)
        _move_text(lake, day, text, {"recordings": audio, "facts": metadata, "annotations": ""}, count, conventions)
        words = pa.repeat(pa.scalar(b"", pa.binary()), count)
        parts = pa.table([columns["audio_sha256"], words], schema=FINGERPRINT_SCHEMA)
        value = {"format": FINGERPRINT_FORMAT, "parts": [put_table(lake, parts, 65_536)]}
        lake.move_pointer(catalogue.FINGERPRINTS.name(day), value, None)


def _generate_columns(
    day: str, count: int, per_session: int, pool: pa.Array, rng: np.random.Generator
) -> dict[str, pa.Array]:
    at = np.arange(count)
    sessions = np.char.add(np.char.mod("%06d", at // per_session), f"_{day.replace('-', '')}_090000")
    texts = pc.binary_join_element_wise(*(pool.take(pa.array(rng.integers(len(pool), size=count))) for _ in "ab"), " ")
    return {
        "segment_id": _format_uuids(_generate_hex(count, 16, rng)),
        "source": pa.repeat("habla", count),
        "session_id": pa.array(sessions),
        "day": pa.repeat(day, count),
        "file_name": pa.array(np.char.mod("segment_%03d.wav", at % per_session + 1)),
        "number": pa.array(at % per_session + 1),
        "audio_sha256": _generate_hex(count, 32, rng),
        "duration_s": pa.array(rng.integers(32_000, 64_000, count) / 16_000),
        "loudness_dbfs": pa.array(rng.uniform(-40, -20, count)),
        "peak_dbfs": pa.array(rng.uniform(-20, 0, count)),
        "clipped_share": pa.array(np.zeros(count)),
        "speaker": pa.array(np.char.mod("Voz %d", rng.integers(VOICES, size=count))),
        "text": texts,
        "sentence": texts,
        "status": pa.repeat("corrected", count),
        "event_id": pa.repeat("", count),
        "person": pa.repeat("Marta", count),
        "annotated_at": pa.repeat(pa.scalar(ANNOTATED_AT, CORPUS_SCHEMA.field("annotated_at").type), count),
    }


def _generate_hex(count: int, n_bytes: int, rng: np.random.Generator) -> pa.Array:
    """Return random bytes in hexadecimal digits."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    drawn = np.frombuffer(rng.bytes(count * n_bytes), np.uint8)
    characters = np.stack([digits[drawn >> 4], digits[drawn & 15]], axis=1).ravel()
    offsets = np.arange(count + 1, dtype=np.int32) * 2 * n_bytes
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(characters))


def _format_uuids(digits: pa.Array) -> pa.Array:
    parts = [pc.utf8_slice_codeunits(digits, *ends) for ends in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))]
    return pc.binary_join_element_wise(*parts, "-")


def _make_table(schema: pa.Schema, columns: dict[str, pa.Array], count: int) -> pa.Table:
    """Return these columns of a schema; the others are null."""
    return pa.table([columns.get(each.name, pa.nulls(count, each.type)) for each in schema], schema=schema)


def _move_day(lake: Lake, day: str, audio: str, metadata: str, count: int) -> None:
    totals = {"segments": count, "sessions": 1, "hours": count / 1200}
    value = {"parquet": audio, "facts": metadata, "inputs": {}, "set_aside": lake.put_json([]), **totals}
    lake.move_pointer(catalogue.RECORDINGS.name(day), value, None)


def _move_text(lake: Lake, day: str, text: str, objects: dict[str, Any], count: int, conventions: Conventions) -> None:
    counts = dict.fromkeys(("segments", "annotated", "usable", "corrected"), count)
    value = {
        **objects,
        "parquet": text,
        "conventions": conventions.title,
        "conventions_digest": conventions.digest,
        "inputs": "",
        "counts": {**counts, "confirmed": 0, "unusable": 0, "without_recording": 0},
        "problems": {},
        "hours": count / 1200,
    }
    lake.move_pointer(catalogue.CORPUS.name(day), value, None)
