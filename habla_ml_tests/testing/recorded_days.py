"""Recorded days without Habla's folders: segments of any loudness, speaker and transcript of Habla."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent, Status
from habla_ml.audio import encode_flac, pcm_sha256
from habla_ml.lake import Lake
from habla_ml.recordings.days import DayUpdate, publish_day
from habla_ml.recordings.segments import HABLA_SOURCE, RecordedSegment, segment_id
from habla_ml.review.candidates import ReviewCandidate
from habla_ml.review.selection import ComparedHypothesis, DecodedCandidate

DAY, NEXT_DAY = "2026-02-02", "2026-02-03"
ANNOTATION_TIME = datetime(2026, 2, 9, 12, tzinfo=UTC)


@dataclass(frozen=True)
class SimulatedSegment:
    """One segment to record."""

    session: str
    number: int
    speaker: str | None = "Ana"
    seconds: float = 0.3
    loudness_dbfs: float = -20.0
    text: str | None = "hola"
    confidence: float | None = 0.9
    status: str | None = None
    sound: int | None = None
    """Seed of the noise; equal seeds give equal audio."""

    @property
    def id(self) -> str:
        return segment_id(HABLA_SOURCE, self.session, self._file)

    @property
    def _file(self) -> str:
        return f"segment_{self.number:03d}.wav"

    def segment(self, day: str) -> RecordedSegment:
        seed = zlib.crc32(self.id.encode()) if self.sound is None else self.sound
        samples = np.random.default_rng(seed).normal(0, 0.1, int(16_000 * self.seconds)).astype(np.float32)
        return RecordedSegment(
            segment_id=self.id,
            source=HABLA_SOURCE,
            session_id=self.session,
            day=day,
            file_name=self._file,
            number=self.number,
            recorded_at=None,
            audio=encode_flac(samples),
            audio_sha256=pcm_sha256(samples),
            duration_s=self.seconds,
            loudness_dbfs=self.loudness_dbfs,
            peak_dbfs=-3.0,
            clipped_share=0.0,
            speaker=self.speaker,
            direction="es_to_en",
            machine_text=self.text,
            machine_confidence=self.confidence,
            asr_status=self.status,
        )


def publish_recordings(lake: Lake, day: str, spoken: Iterable[SimulatedSegment], folder: Path) -> None:
    """Publish the segments as that day's recordings."""
    segments = sorted((each.segment(day) for each in spoken), key=lambda each: (each.session_id, each.number))
    publish_day(lake, day, segments, folder, DayUpdate(inputs={each.session_id: "read" for each in segments}))


def annotate(lake: Lake, day: str, spoken: Iterable[SimulatedSegment], status: Status = "corrected") -> None:
    """Append an annotation of each segment to the log."""
    events = [
        AnnotationEvent(
            segment_id=each.id,
            session_id=each.session,
            day=day,
            text="hola",
            status=status,
            reason="",
            person="Marta",
            source="habla",
            created_at=ANNOTATION_TIME,
            seen_text=each.text,
        )
        for each in spoken
    ]
    append_events(lake, day, events, {})


def make_decoded_candidate(name: str, **fields: object) -> DecodedCandidate:
    """Return a candidate of 3 s that model `v2` decoded with confidence; `fields` override those of candidate or hypothesis."""
    candidate = {
        "segment_id": name,
        "session_id": "s1",
        "day": DAY,
        "speaker": "Ana",
        "duration_s": 3.0,
        "loudness_dbfs": -20.0,
        "audio_sha256": name,
        "machine_text": "",
        "machine_confidence": None,
        "rejected": False,
        "annotated_minutes": 100.0,
        "random_order": 0,
    }
    hypothesis = {
        "model_version": "v2",
        "text": f"frase {name}",
        "avg_logprob": 0.0,
        "no_speech_prob": 0.0,
        "second_source": "Habla",
        "disagreement": 0.0,
    }
    for field, value in fields.items():
        (hypothesis if field in hypothesis else candidate)[field] = value
    return DecodedCandidate(ReviewCandidate(**candidate), ComparedHypothesis(**hypothesis))  # type: ignore[arg-type]
