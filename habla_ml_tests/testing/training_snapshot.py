"""A small snapshot of tones to train on."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.audio import encode_flac, pcm_sha256
from habla_ml.corpus.snapshot import Snapshot, Split, save_snapshot
from habla_ml.lake import Lake

SENTENCES = ("abrid los libros", "gracias, profe", "¿dónde está el lápiz?", "los niños para ahora")


@dataclass(frozen=True)
class TrainingClipSpec:
    """One segment of a snapshot."""

    segment_id: str
    split: Split
    sentence: str
    duration_s: float


def make_tone(clip: TrainingClipSpec) -> np.ndarray:
    """Return a tone that depends on the sentence, with noise that depends on the segment."""
    rng = np.random.default_rng(list(clip.segment_id.encode()))
    time_s = np.arange(round(clip.duration_s * 16_000)) / 16_000
    pitch_hz = 200 + 130 * (SENTENCES.index(clip.sentence) if clip.sentence in SENTENCES else 5)
    audio = 0.3 * np.sin(2 * np.pi * pitch_hz * time_s) + 0.01 * rng.standard_normal(len(time_s))
    return audio.astype(np.float32)


def publish_snapshot(
    lake: Lake,
    clips: list[TrainingClipSpec],
    groups: Mapping[str, str] | None = None,
    unreadable: Collection[Split] = (),
) -> Snapshot:
    """Save clips of two days as recordings, a table of segments and a snapshot whose ledger has these groups.

    The audio of the splits in `unreadable` is no FLAC, so that reading it is an error.
    """
    rows, recordings = [], {}
    for day in ("2026-02-02", "2026-02-03"):
        chosen = clips[day == "2026-02-03" :: 2]
        audio = [make_tone(clip) for clip in chosen]
        rows += [
            {
                "segment_id": clip.segment_id,
                "day": day,
                "session_id": f"session-{day}",
                "speaker": "SPEAKER_00",
                "sentence": clip.sentence,
                "split": clip.split,
                "duration_s": clip.duration_s,
                "loudness_dbfs": -20.0,
                "audio_sha256": pcm_sha256(samples),
            }
            for clip, samples in zip(chosen, audio, strict=True)
        ]
        recordings[day] = _put_parquet(
            lake,
            pa.table(
                {
                    "segment_id": [c.segment_id for c in chosen],
                    "audio_sha256": [pcm_sha256(samples) for samples in audio],
                    "audio": [
                        b"no audio" if clip.split in unreadable else encode_flac(each)
                        for clip, each in zip(chosen, audio, strict=True)
                    ],
                    "source": ["habla"] * len(chosen),
                    "session_id": [f"session-{day}"] * len(chosen),
                    "speaker": ["SPEAKER_00"] * len(chosen),
                }
            ),
        )
    counts: Mapping[Split, int] = {
        split: sum(row["split"] == split for row in rows) for split in ("train", "validation", "test")
    }
    draft = Snapshot(
        id="",
        segments=_put_parquet(lake, pa.Table.from_pylist(rows)),
        recordings=recordings,
        corpus={},
        conventions="orthographic-v1",
        conventions_digest="0" * 64,
        ledger=lake.put_json({"groups": dict(groups or {})}),
        hours=dict.fromkeys(counts, 0.01),
        counts=counts,
        near_duplicates=dict.fromkeys(counts, 0),
    )
    return save_snapshot(lake, draft)


def make_clips(n_train: int = 20, n_validation: int = 4) -> list[TrainingClipSpec]:
    """Return clips of 1 to 2 s with the four sentences in turn."""
    splits: list[Split] = ["train"] * n_train + ["validation"] * n_validation
    return [
        TrainingClipSpec(f"segment-{index:03}", split, SENTENCES[index % 4], 1.0 + 0.05 * (index % 20))
        for index, split in enumerate(splits)
    ]


def _put_parquet(lake: Lake, table: pa.Table) -> str:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=8)
    return lake.put_bytes(buffer.getvalue())
