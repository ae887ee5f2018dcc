"""Sessions in the states that Habla itself leaves them in, with the keys and their order of its own files.

The formats are those of `audio_recorder.py`, `websocket.py`, `generate_ground_truth.py` and `api_corrections.py` of Habla.
"""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from habla_ml_tests.testing.habla_sessions import make_noise, write_wav

_STARTED_AT = "2026-02-16T09:00:00.123456"


def write_live_session(
    folder: Path, name: str, segments: int = 2, *, texts: Mapping[int, str] | None = None, seed: int = 0
) -> Path:
    """Write a stopped session as Habla's recorder does.

    Segments in `texts` have the text, speaker and confidence of older versions; the others are marked `rejected`, as the
    current version marks all of them.
    """
    session = folder / name
    session.mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(1, segments + 1):
        file = session / f"segment_{number:03d}.wav"
        write_wav(file, make_noise(0.4, 1000 * seed + number))
        entries.append(_describe_segment(file, number, (texts or {}).get(number)))
    _write_metadata(session, entries)
    return session


def write_second_start(session: Path, segments: int, *, seed: int, stream: bytes) -> None:
    """Add the segments after a second Start in one connection: numbers go on, the stream is overwritten."""
    numbers = len(list(session.glob("segment_*.wav")))
    entries = json.loads((session / "metadata.json").read_text("utf-8"))["segments"]
    for number in range(numbers + 1, numbers + segments + 1):
        file = session / f"segment_{number:03d}.wav"
        write_wav(file, make_noise(0.4, 1000 * seed + number))
        entries.append(_describe_segment(file, number, None))
    (session / "raw_stream.webm").write_bytes(stream)
    _write_metadata(session, entries)


def write_ground_truth(
    session: Path, texts: Sequence[str], confidences: Sequence[float] | None = None, direction: str = "es_to_en"
) -> None:
    """Write Habla's machine transcripts; without `confidences` all are 0, as its pinned WhisperX gives none."""
    confidences = confidences or [0] * len(texts)
    segments = [
        {
            "segment_id": number,
            "filename": f"segment_{number:03d}.wav",
            "transcript": text,
            "confidence": confidence,
            "asr_time_seconds": 0.41,
            "translation": "",
            "asr_corrections": "",
        }
        for number, (text, confidence) in enumerate(zip(texts, confidences, strict=True), 1)
    ]
    body = {
        "generated_at": "2026-02-22T12:00:00.654321",
        "whisper_model": "large-v3",
        "direction": direction,
        "total_segments": len(segments),
        "segments": segments,
        "full_transcript": "\n".join(f"[{number}] {text}" for number, text in enumerate(texts, 1)),
        "full_translation": "\n" * (len(texts) - 1),
    }
    _write(session / "ground_truth.json", body, ensure_ascii=False)


def save_review(
    session: Path, texts: Sequence[str], reviewed: Collection[int], corrected: Collection[int] = (), *, at: str
) -> None:
    """Save the corrections page: every segment of the session, those in `reviewed` accepted by a person."""
    segments = [
        {
            "segment_id": number,
            "filename": f"segment_{number:03d}.wav",
            "transcript": text,
            "confidence": 0.0,
            "asr_time_seconds": 0.41,
            "translation": "",
            "asr_corrections": "",
            "reviewed": number in reviewed,
            "human_corrected": number in corrected,
        }
        for number, text in enumerate(texts, 1)
    ]
    body = {
        "generated_at": "2026-02-22T12:00:00.654321",
        "whisper_model": "large-v3",
        "direction": "es_to_en",
        "total_segments": len(segments),
        "segments": segments,
        "corrected_at": at,
        "correction_stats": {
            "reviewed": len(reviewed),
            "human_corrected": len(corrected),
            "total": len(segments),
        },
    }
    _write(session / "corrected_ground_truth.json", body, ensure_ascii=False)


def copy_session(session: Path, name: str) -> Path:
    """Copy a session's folder with all its files under another name, as a backup or a restore does."""
    return shutil.copytree(session, session.parent / name)


def _describe_segment(file: Path, number: int, text: str | None) -> dict[str, Any]:
    with wave.open(str(file)) as found:
        pcm = np.frombuffer(found.readframes(found.getnframes()), "<i2").astype(np.float64)
    entry = {
        "segment_id": number,
        "filename": file.name,
        "size_bytes": 2 * len(pcm),
        "duration_seconds": len(pcm) / 16_000,
        "recorded_at": f"2026-02-16T09:00:{number:02d}.456789",
        "audio_rms": round(float(np.sqrt(np.mean(pcm**2))), 1),
        "vad_avg_prob": 0.871,
    }
    if text is None:
        return {**entry, "asr_status": "rejected"}
    return {
        **entry,
        "raw_transcript": text,
        "translation": "",
        "speaker": "Speaker A",
        "confidence": 0.35,
        "idioms_detected": 0,
    }


def _write_metadata(session: Path, entries: list[dict[str, Any]]) -> None:
    body = {
        "session_id": session.name.rsplit("_", 2)[0],
        "started_at": _STARTED_AT,
        "raw_audio_format": "webm_opus",
        "sample_rate": 16000,
        "segments": entries,
        "ended_at": "2026-02-16T09:01:00.123456",
        "total_segments": len(entries),
    }
    _write(session / "metadata.json", body, ensure_ascii=True)


def _write(path: Path, body: Mapping[str, Any], *, ensure_ascii: bool) -> None:
    path.write_text(json.dumps(body, indent=2, ensure_ascii=ensure_ascii), "utf-8")
