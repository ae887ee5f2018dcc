"""A school with a released version: lessons before and after the release, corrections and hypotheses.

Lessons are noise, so the model's hypotheses are written into the cache as if they had been decoded.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.review_queue import ReviewItem, save_queue
from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import Conventions, load_conventions
from habla_ml.corpus.snapshot import Snapshot, save_snapshot
from habla_ml.evaluation.comparison.compare import compare_decoded_models
from habla_ml.evaluation.comparison.records import Provenance
from habla_ml.evaluation.metrics.inputs import DecodedModel
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.review.model_hypotheses import ReleasedModel, find_released_models
from habla_ml.settings import Settings
from habla_ml.training.plan import VersionPlan
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.hypothesis_cache import save_hypotheses
from habla_ml.transcription.serving_profiles import build_served_options
from habla_ml_tests.testing.recorded_days import SimulatedSegment, publish_recordings
from habla_ml_tests.testing.released_models import release
from habla_ml_tests.testing.simulated_hypotheses import make_utterances, simulate_hypotheses

FIRST_WEEK_START = date(2026, 2, 2)
"""Monday of the first week after the release, which is on the Sunday before."""
_SENTENCE_WORDS = "los niños traen la libreta azul y escriben despacio una frase sobre el mar"
ERROR_RATE = 0.2


@dataclass(frozen=True)
class LessonSegment:
    """One segment of a lesson with its words."""

    spoken: SimulatedSegment
    sentence: str
    day: str


@dataclass
class MonitoredDeployment:
    """Everything that monitoring of a released version needs."""

    lake: Lake
    store: DirectoryStore
    settings: Settings
    folder: Path

    @property
    def conventions(self) -> Conventions:
        return load_conventions(self.settings.corpus.conventions)

    @property
    def model(self) -> ReleasedModel:
        return find_released_models(self.lake, self.store, "stable")[0]

    def record_week(self, week: int, sessions: int = 4, segments: int = 9, **spoken: object) -> list[LessonSegment]:
        """Record the lessons of a week on its Monday, without corrections; week 0 is the first after the release."""
        day = (FIRST_WEEK_START + timedelta(weeks=week)).isoformat()
        random = np.random.default_rng(1000 + week)
        made = [
            LessonSegment(
                replace(SimulatedSegment(f"lesson-{day}-{session}", number, seconds=2.0), **spoken),  # type: ignore[arg-type]
                " ".join(random.choice(_SENTENCE_WORDS.split(), 6)).capitalize() + ".",
                day,
            )
            for session in range(sessions)
            for number in range(1, segments + 1)
        ]
        publish_recordings(self.lake, day, [each.spoken for each in made], self.folder)
        return made

    def set_hypotheses(self, lessons: Sequence[LessonSegment], error_rate: float) -> None:
        """Write hypotheses of the released model with this error rate."""
        random = np.random.default_rng(zlib.crc32(f"{lessons[0].spoken.id} {error_rate}".encode()))
        found = {}
        for each in lessons:
            words = [f"x{word}" if random.random() < error_rate else word for word in each.sentence.split()]
            segment = each.spoken.segment(each.day)
            text = " ".join(words)
            found[segment.audio_sha256] = Hypothesis(segment.audio_sha256, text, 0.1, 2.0, None, avg_logprob=-0.2)
        save_hypotheses(self.lake, self.model.artefact, build_served_options(self.settings.evaluation), found)

    def annotate_lessons(
        self, lessons: Sequence[LessonSegment], week: int | None = None, text: str | None = None
    ) -> None:
        """Correct the lessons on the Wednesday of their week or of another one."""
        for day in sorted({each.day for each in lessons}):
            monday = date.fromisoformat(day) if week is None else FIRST_WEEK_START + timedelta(weeks=week)
            moment = datetime(monday.year, monday.month, monday.day, 12, tzinfo=UTC) + timedelta(days=2)
            events = [
                AnnotationEvent(
                    segment_id=each.spoken.id,
                    session_id=each.spoken.session,
                    day=day,
                    text=text or each.sentence,
                    status="corrected",
                    reason="",
                    person="Marta",
                    source="habla",
                    created_at=moment,
                    seen_text=None,
                )
                for each in lessons
                if each.day == day
            ]
            append_events(self.lake, day, events, {})
            build_day(self.lake, day, self.conventions, self.settings)

    def simulate_week(self, week: int, error_rate: float, **lesson: object) -> list[LessonSegment]:
        """Record, decode and correct a whole week."""
        made = self.record_week(week, **lesson)  # type: ignore[arg-type]
        self.set_hypotheses(made, error_rate)
        self.annotate_lessons(made)
        return made

    def queue_as_difficult(self, lessons: Sequence[LessonSegment]) -> None:
        """Put these segments into a review queue as difficult ones."""
        item = ReviewItem("", "", "", "Ana", 2.0, "", "v1", 1.0, ("unsure: 0.2",), False)
        items = [
            replace(item, segment_id=each.spoken.id, session_id=each.spoken.session, day=each.day) for each in lessons
        ]
        save_queue(self.lake, items, datetime(2026, 2, 1, tzinfo=UTC))


def create_school(
    lake: Lake, store: DirectoryStore, settings: Settings, artefact: Path, folder: Path
) -> MonitoredDeployment:
    """Record three corrected weeks; v1 is trained on the first sessions of each, measured and released."""
    monitored_deployment = MonitoredDeployment(lake, store, settings, folder)
    release(lake, store, "v1", artefact, folder / "models")
    lessons = [each for week in (-4, -3, -2) for each in monitored_deployment.record_week(week)]
    monitored_deployment.set_hypotheses(lessons, ERROR_RATE)
    monitored_deployment.annotate_lessons(lessons)
    snapshot = _save_school_snapshot(monitored_deployment, lessons)
    lake.move_pointer("models/v1/plan", asdict(VersionPlan("v1", snapshot.id, "0" * 64, 1.0)), None)
    write_release_evidence(monitored_deployment, ERROR_RATE)
    return monitored_deployment


def write_release_evidence(monitored_deployment: MonitoredDeployment, error_rate: float) -> None:
    """Write the evidence of v1: a test set of twelve sessions with this error rate."""
    test, served = make_utterances(12, 12, seed=4), build_served_options(monitored_deployment.settings.evaluation)
    comparison = compare_decoded_models(
        test,
        [
            DecodedModel(
                "v1",
                "candidate",
                monitored_deployment.model.artefact,
                served,
                simulate_hypotheses(test, error_rate, seed=5),
            )
        ],
        monitored_deployment.settings.evaluation,
        Provenance(
            snapshot_id="5" * 64,
            conventions=monitored_deployment.conventions.title,
            conventions_digest=monitored_deployment.conventions.digest,
        ),
    )
    pointer = monitored_deployment.lake.read_pointer("models/v1/report")
    value = {"comparison": monitored_deployment.lake.put_bytes(comparison.to_json().encode())}
    monitored_deployment.lake.move_pointer("models/v1/report", value, pointer)


def _save_school_snapshot(monitored_deployment: MonitoredDeployment, lessons: Sequence[LessonSegment]) -> Snapshot:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(_build_snapshot_rows(lessons))), out)
    conventions = monitored_deployment.conventions
    draft = Snapshot(
        id="",
        segments=monitored_deployment.lake.put_bytes(out.getvalue()),
        recordings={},
        corpus={},
        conventions=conventions.title,
        conventions_digest=conventions.digest,
        ledger="0" * 64,
        hours={"train": 1.0, "validation": 0.0, "test": 1.0},
        counts={"train": 1, "validation": 0, "test": 1},
    )
    return save_snapshot(monitored_deployment.lake, draft)


def _build_snapshot_rows(lessons: Sequence[LessonSegment]) -> Iterator[dict[str, object]]:
    for each in lessons:
        segment = each.spoken.segment(each.day)
        yield {
            "segment_id": segment.segment_id,
            "session_id": segment.session_id,
            "day": each.day,
            "speaker": segment.speaker,
            "sentence": each.sentence,
            "audio_sha256": segment.audio_sha256,
            # Two of a week's four sessions are held out.
            "split": "train" if segment.session_id[-1] in "01" else "test",
        }
