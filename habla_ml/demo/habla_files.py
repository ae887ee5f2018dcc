"""Write files in the exact format of Habla's recorder and correction page.

Habla is another program. This module reproduces its output for the demo and the tests: naive local times, absent
keys for rejected segments, a confidence from 0 to 1 in one file and a negative one in another.
"""

import json
import wave
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from habla_ml.demo.speech_synthesis import SAMPLE_RATE_HZ
from habla_ml.demo.synthetic_speakers import SpokenUtterance

_WEBM_START = bytes.fromhex("1a45dfa3")


@dataclass(frozen=True)
class HablaSegment:
    """One VAD segment of a session.

    Attributes:
        number: Number in the file name.
        socket_id: Counter of the socket, called ``segment_id`` in the metadata.
        utterance: The spoken sentence.
        label: Speaker label in the session.
        recorded_at: Time of writing, naive local time.
        live_text: Text of the live recogniser; None where it rejected the segment.
        machine_text: Later text of the larger model.
        human_text: Text that a person typed or confirmed; None before review.
        probability: Confidence of the recognisers, 0 to 1.
    """

    number: int
    socket_id: int
    utterance: SpokenUtterance
    label: str
    recorded_at: datetime
    live_text: str | None
    machine_text: str
    human_text: str | None
    probability: float

    @property
    def filename(self) -> str:
        """File name with at least three digits."""
        return f"segment_{self.number:03d}.wav"


@dataclass(frozen=True)
class HablaSession:
    """One recorded lesson; times are naive local times."""

    session_id: str
    started_at: datetime
    ended_at: datetime
    direction: str
    segments: tuple[HablaSegment, ...]

    @property
    def folder_name(self) -> str:
        """``<session_id>_<YYYYMMDD_HHMMSS>``."""
        return f"{self.session_id}_{self.started_at:%Y%m%d_%H%M%S}"


def write_recording(session: HablaSession, recordings: Path) -> Path:
    """Write the files of a running session: one WAV per segment and the stream; return the folder."""
    folder = recordings / session.folder_name
    folder.mkdir(parents=True)
    for segment in session.segments:
        write_wav(folder / segment.filename, segment.utterance.pcm)
    (folder / "raw_stream.webm").write_bytes(_WEBM_START)
    return folder


def write_metadata(session: HablaSession, folder: Path) -> None:
    """Write ``metadata.json``, as Habla does when a session stops."""
    _write_json(
        folder / "metadata.json",
        {
            "session_id": session.session_id,
            "started_at": session.started_at.isoformat(),
            "ended_at": session.ended_at.isoformat(),
            "raw_audio_format": "webm_opus",
            "sample_rate": SAMPLE_RATE_HZ,
            "total_segments": len(session.segments),
            "segments": [_build_metadata_entry(segment) for segment in session.segments],
        },
    )


def write_ground_truth(session: HablaSession, folder: Path) -> None:
    """Write ``ground_truth.json``: transcripts of the larger model."""
    _write_json(folder / "ground_truth.json", _build_ground_truth(session))


def write_corrections(session: HablaSession, folder: Path) -> None:
    """Write ``corrected_ground_truth.json``: the same with typed and confirmed texts."""
    content = _build_ground_truth(session)
    entries = []
    for segment, entry in zip(session.segments, content["segments"], strict=True):
        reviewed = segment.human_text is not None
        entries.append(
            {
                **entry,
                "transcript": segment.human_text if reviewed else segment.machine_text,
                "reviewed": reviewed,
                "human_corrected": reviewed and segment.human_text != segment.machine_text,
            }
        )
    corrected_at = (session.ended_at + timedelta(hours=20)).replace(tzinfo=UTC)
    stats = {
        "reviewed": sum(entry["reviewed"] for entry in entries),
        "human_corrected": sum(entry["human_corrected"] for entry in entries),
        "total": len(entries),
    }
    content |= {"segments": entries, "corrected_at": corrected_at.isoformat(), "correction_stats": stats}
    _write_json(folder / "corrected_ground_truth.json", content)


def write_wav(target: Path | BinaryIO, pcm: NDArray[np.int16]) -> None:
    """Write 16 kHz mono 16-bit PCM to a path or an open file."""
    with wave.open(str(target) if isinstance(target, Path) else target, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE_HZ)
        out.writeframes(pcm.astype("<i2").tobytes())


def _build_metadata_entry(segment: HablaSegment) -> dict[str, Any]:
    pcm = segment.utterance.pcm
    entry: dict[str, Any] = {
        "segment_id": segment.socket_id,
        "filename": segment.filename,
        "size_bytes": 44 + 2 * len(pcm),
        "duration_seconds": round(segment.utterance.duration_s, 3),
        "recorded_at": segment.recorded_at.isoformat(),
        "audio_rms": round(float(np.sqrt(np.mean(pcm.astype(np.float64) ** 2))), 1),
        "vad_avg_prob": round(0.5 + segment.probability / 2, 3),
    }
    if segment.live_text is None:
        return {**entry, "asr_status": "rejected"}
    return {
        **entry,
        "raw_transcript": segment.live_text,
        "translation": "",
        "speaker": segment.label,
        "confidence": round(segment.probability, 3),
        "idioms_detected": 0,
    }


def _build_ground_truth(session: HablaSession) -> dict[str, Any]:
    return {
        "generated_at": (session.ended_at + timedelta(hours=6)).replace(microsecond=0).isoformat(),
        "whisper_model": "large-v3",
        "direction": session.direction,
        "total_segments": len(session.segments),
        "segments": [
            {
                "segment_id": segment.socket_id,
                "filename": segment.filename,
                "transcript": segment.machine_text,
                "confidence": round(float(np.log(segment.probability)), 3),
                "asr_time_seconds": 0.4,
                "translation": "",
                "asr_corrections": "",
            }
            for segment in session.segments
        ],
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
