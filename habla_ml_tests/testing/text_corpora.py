"""Corpora of text without audio."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.corpus.build import CORPUS_SCHEMA
from habla_ml.corpus.conventions import Conventions
from habla_ml.corpus.stored_fingerprints import store_fingerprints
from habla_ml.lake import Lake, catalogue
from habla_ml.lake.table import put_table, read_table


@dataclass(frozen=True)
class AnnotatedSegmentSpec:
    """One annotated segment."""

    session: str
    number: int = 1
    sound: str = ""
    seconds: float = 60.0
    usable: bool = True
    speaker: str = "unknown"
    sentence: str = "hola"
    hour: int = 0
    """Of its annotation."""
    id_prefix: str = ""

    @property
    def name(self) -> str:
        return f"{self.session}/{self.number}"


def write_corpus_day(lake: Lake, day: str, lines: Iterable[AnnotatedSegmentSpec], conventions: Conventions) -> None:
    """Publish a day of the corpus like `build_day`."""
    made = [
        {
            "segment_id": line.id_prefix + line.name,
            "session_id": line.session,
            "day": day,
            "file_name": f"segment_{line.number:03d}.wav",
            "number": line.number,
            "speaker": line.speaker,
            "duration_s": line.seconds,
            "loudness_dbfs": -25.0,
            "audio_sha256": line.sound or line.name,
            "text": "hola",
            "sentence": line.sentence,
            "status": "corrected",
            "problem": None if line.usable else "unusable",
            "event_id": "e",
            "source": "habla",
            "person": "",
            "annotated_at": datetime(2026, 1, 1, line.hour, tzinfo=UTC),
        }
        for line in lines
    ]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(made, schema=CORPUS_SCHEMA), out)
    usable = [row for row in made if row["problem"] is None]
    metadata = pa.Table.from_pylist(made, schema=CORPUS_SCHEMA).select(["session_id", "audio_sha256", "loudness_dbfs"])
    value = {
        "parquet": lake.put_bytes(out.getvalue()),
        "recordings": "0" * 64,
        "facts": put_table(lake, metadata),
        "annotations": "",
        "conventions": conventions.title,
        "conventions_digest": conventions.digest,
        "inputs": "",
        "counts": {"annotated": len(made), "usable": len(usable)},
        "problems": {},
        "hours": sum(line.seconds for line in lines if line.usable) / 3600 if made else 0.0,
    }
    lake.move_pointer(catalogue.CORPUS.name(day), value, lake.read_pointer(catalogue.CORPUS.name(day)))
    # Without audio there is nothing to fingerprint.
    empty = ((row["audio_sha256"], np.zeros(0, np.uint32)) for row in made)
    store_fingerprints(lake, day, empty, lake.read_pointer(catalogue.FINGERPRINTS.name(day)))


def read_splits(lake: Lake, segments: str) -> dict[str, tuple[str, str]]:
    """Return segment → its split and its audio digest."""
    table = read_table(lake, segments)
    return {row["segment_id"]: (row["split"], row["audio_sha256"]) for row in table.to_pylist()}


def create_empty_lake(root: Path) -> Lake:
    from habla_ml.lake import DirectoryStore

    return Lake(DirectoryStore(root / "lake"), root / "cache")
