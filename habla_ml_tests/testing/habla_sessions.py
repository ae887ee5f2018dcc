"""A small Habla on disk: session folders with WAV files and Habla's JSON, and a lake."""

from __future__ import annotations

import json
import os
import wave
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from habla_ml.corpus.conventions import Conventions, load_conventions
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.recordings.ingest import IngestedDay, ingest_day
from habla_ml.settings import Settings

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = "2026-02-16"
A, B = "11111_20260216_090000", "22222_20260216_100000"
PROJECT = Path(__file__).resolve().parents[2]
V1 = PROJECT / "configs" / "conventions" / "orthographic-v1.yaml"
V2 = PROJECT / "configs" / "conventions" / "orthographic-v2.yaml"
V3 = PROJECT / "configs" / "conventions" / "orthographic-v3.yaml"


@dataclass(frozen=True)
class HablaWorkspace:
    """Habla's folder, the lake, and settings for both."""

    root: Path
    recordings: Path
    lake: Lake
    settings: Settings

    @property
    def conventions(self) -> Conventions:
        return load_conventions(V1)


def make_workspace(root: Path, **sections: Mapping[str, Any]) -> HablaWorkspace:
    recordings = root / "habla"
    recordings.mkdir(parents=True, exist_ok=True)
    tree: dict[str, Any] = {
        "profile": "test",
        "work_folder": str(root / "work"),
        "lake": {"url": str(root / "lake")},
        "recordings": {"folder": str(recordings)},
        "corpus": {"conventions": str(V1)},
        "training": {"recipe": str(V1)},
        "release": {"store": {"url": str(root / "cdn")}},
    }
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values}
    return HablaWorkspace(
        root, recordings, Lake(DirectoryStore(root / "lake"), root / "cache"), Settings.model_validate(tree)
    )


def ingest_into(workspace: HablaWorkspace, day: str = DAY, now: datetime = NOW) -> IngestedDay:
    return ingest_day(workspace.recordings, day, workspace.lake, workspace.settings, now)


def make_noise(seconds: float = 0.4, seed: int = 0) -> NDArray[np.int16]:
    """Return noise at the level of speech, 16 kHz mono."""
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 2000, round(seconds * 16_000))).clip(-32768, 32767).astype(np.int16)


def write_wav(path: Path, pcm: NDArray[np.int16]) -> None:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(pcm.astype("<i2").tobytes())


def write_session(
    folder: Path,
    name: str,
    segments: int = 2,
    *,
    seed: int | None = None,
    seconds: float = 0.4,
    metadata: bool = True,
    entries: Mapping[int, Mapping[str, Any]] | None = None,
) -> Path:
    """Write a session with different noise in each segment; `entries` adds keys to its metadata by segment number."""
    session = folder / name
    session.mkdir(parents=True, exist_ok=True)
    start = sum(name.encode()) * 1000 if seed is None else seed
    for number in range(1, segments + 1):
        write_wav(session / f"segment_{number:03d}.wav", make_noise(seconds, start + number))
    if metadata:
        listed = [
            {
                "segment_id": number,
                "filename": f"segment_{number:03d}.wav",
                "recorded_at": f"2026-02-16T14:30:{number:02d}.5",
                "raw_transcript": f"texto {number}",
                "speaker": "Speaker A",
                "confidence": 0.9,
                **(entries or {}).get(number, {}),
            }
            for number in range(1, segments + 1)
        ]
        write_json(session / "metadata.json", {"session_id": name, "segments": listed})
    return session


def write_corrections(
    session: Path,
    texts: Mapping[int, str],
    *,
    at: str = "2026-02-23T09:12:44+00:00",
    confirmed: Iterable[int] = (),
) -> None:
    """Write `corrected_ground_truth.json` with reviewed texts; those in `confirmed` were not typed."""
    entries = [
        {
            "segment_id": number,
            "filename": f"segment_{number:03d}.wav",
            "transcript": text,
            "reviewed": True,
            "human_corrected": number not in set(confirmed),
        }
        for number, text in texts.items()
    ]
    write_json(session / "corrected_ground_truth.json", {"corrected_at": at, "segments": entries})


def write_json(path: Path, body: Any) -> None:
    path.write_text(json.dumps(body), "utf-8")


def set_age(session: Path, hours: float, now: datetime = NOW) -> None:
    """Set the times of everything in the session's folder."""
    then = now.timestamp() - hours * 3600
    for path in [*session.iterdir(), session]:
        os.utime(path, (then, then), follow_symlinks=False)
