"""Days of recordings and text with chosen faults, in the tables of the real stages, with real FLAC."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.audio import encode_flac
from habla_ml.corpus.build import CORPUS_SCHEMA
from habla_ml.lake import Lake, catalogue
from habla_ml.recordings.segments import ROW_GROUP_SIZE, SEGMENT_METADATA_SCHEMA, SEGMENT_SCHEMA

DIGEST = "c" * 64


@dataclass(frozen=True)
class RecordedSegmentSpec:
    """One recorded segment and its text (None: no annotation)."""

    number: int
    sentence: str | None = "Hola, ¿qué tal?"
    problem: str | None = None
    seconds: float = 1.0
    loudness_dbfs: float = -22.0
    clipped_share: float = 0.0
    speaker: str | None = "Profe"
    violations: tuple[str, ...] | None = None
    session: str = "s1"

    def name(self, day: str) -> str:
        return f"{day}/{self.session}/{self.number}"


def write_recorded_day(
    lake: Lake,
    day: str,
    spoken: Iterable[RecordedSegmentSpec],
    conventions: str = "orthographic-v1",
    digest: str = DIGEST,
) -> None:
    """Publish recordings and text of one day."""
    lines = list(spoken)
    rng = np.random.default_rng(int(day.replace("-", "")))
    recorded = [
        {
            **_make_common_fields(line, day),
            "speaker": line.speaker,
            "source": "habla",
            "audio": encode_flac(rng.normal(0, 0.1, round(line.seconds * 16_000)).astype(np.float32)),
            "peak_dbfs": -3.0,
            "clipped_share": line.clipped_share,
        }
        for line in lines
    ]
    text = [_make_corpus_row(line, day) for line in lines if line.sentence is not None]
    audio = _put_table(lake, pa.Table.from_pylist(recorded, schema=_relax_schema(SEGMENT_SCHEMA, recorded)))
    facts = _put_table(lake, pa.Table.from_pylist(recorded, schema=_relax_schema(SEGMENT_METADATA_SCHEMA, recorded)))
    seconds = sum(line.seconds for line in lines)
    _set_pointer(
        lake,
        catalogue.RECORDINGS.name(day),
        {
            "parquet": audio,
            "facts": facts,
            "inputs": {},
            "set_aside": lake.put_json([]),
            "segments": len(lines),
            "sessions": 1,
            "hours": seconds / 3600,
        },
    )
    usable = [line for line in lines if line.sentence is not None and line.problem is None]
    problems = [line.problem for line in lines if line.problem]
    _set_pointer(
        lake,
        catalogue.CORPUS.name(day),
        {
            "parquet": _put_table(lake, pa.Table.from_pylist(text, schema=CORPUS_SCHEMA)),
            "recordings": audio,
            "facts": facts,
            "annotations": "",
            "conventions": conventions,
            "conventions_digest": digest,
            "inputs": "",
            "counts": {"segments": len(lines), "annotated": len(text), "usable": len(usable)},
            "problems": {problem: problems.count(problem) for problem in sorted(set(problems))},
            "hours": sum(line.seconds for line in usable) / 3600,
        },
    )


def _make_corpus_row(line: RecordedSegmentSpec, day: str) -> dict[str, object]:
    return {
        **_make_common_fields(line, day),
        "speaker": line.speaker or "unknown",
        "text": line.sentence,
        "sentence": line.sentence,
        "status": "corrected",
        "problem": line.problem,
        "event_id": "e",
        "source": "habla",
        "person": "",
        "annotated_at": datetime(2026, 1, 1, tzinfo=UTC),
        "violations": list(line.violations or ()),
    }


def _make_common_fields(line: RecordedSegmentSpec, day: str) -> dict[str, object]:
    return {
        "segment_id": line.name(day),
        "session_id": line.session,
        "day": day,
        "file_name": f"segment_{line.number:03d}.wav",
        "number": line.number,
        "audio_sha256": sha256(line.name(day).encode()).hexdigest(),
        "duration_s": line.seconds,
        "loudness_dbfs": line.loudness_dbfs,
    }


def _relax_schema(schema: pa.Schema, rows: list[dict[str, object]]) -> pa.Schema:
    """Make the columns without values nullable."""
    names = set(rows[0]) if rows else set(schema.names)
    return pa.schema([field if field.name in names else field.with_nullable(True) for field in schema])


def _put_table(lake: Lake, table: pa.Table) -> str:
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=ROW_GROUP_SIZE)
    return lake.put_bytes(out.getvalue())


def _set_pointer(lake: Lake, name: str, value: dict[str, object]) -> None:
    lake.move_pointer(name, value, lake.read_pointer(name))
