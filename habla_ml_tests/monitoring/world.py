"""A school whose first version is released: lessons before and after, what people correct, what the model hears.

Lessons are of noise, so what the model hears is laid into the cache of hypotheses as if it had been decoded.
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

from habla_ml.annotation import AnnotationEvent, append_events
from habla_ml.annotation.review import ReviewItem, save_queue
from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import Conventions, load_conventions
from habla_ml.corpus.snapshot import Snapshot, save_snapshot
from habla_ml.evaluation.compare import Evaluated, compare_versions
from habla_ml.evaluation.comparison import Provenance
from habla_ml.evaluation.hypotheses import save_hypotheses
from habla_ml.evaluation.listening import served_options
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.review.hearing import ReleasedModel, released_models
from habla_ml.settings import Settings
from habla_ml.training.plan import VersionPlan
from habla_ml.transcription.engine import Hypothesis
from habla_ml_tests.evaluation.classroom import heard, lesson
from habla_ml_tests.review.conftest import release
from habla_ml_tests.review.world import Spoken, record

RELEASED = date(2026, 2, 2)
"""Monday of the first week after the release, which was on the Sunday before."""
_TALE = "los niños traen la libreta azul y escriben despacio una frase sobre el mar"
ERROR_RATE = 0.2


@dataclass(frozen=True)
class Lesson:
    """One segment of a lesson and what was said in it."""

    spoken: Spoken
    sentence: str
    day: str


@dataclass
class School:
    """Everything that a released version is watched with."""

    lake: Lake
    store: DirectoryStore
    settings: Settings
    folder: Path

    @property
    def conventions(self) -> Conventions:
        return load_conventions(self.settings.corpus.conventions)

    @property
    def model(self) -> ReleasedModel:
        return released_models(self.lake, self.store, "stable")[0]

    def teach(self, week: int, sessions: int = 4, segments: int = 9, **spoken: object) -> list[Lesson]:
        """Record a week's lessons, `week` 0 being the first since the release, on its Monday; nobody corrects them."""
        day = (RELEASED + timedelta(weeks=week)).isoformat()
        random = np.random.default_rng(1000 + week)
        made = [
            Lesson(
                replace(Spoken(f"lesson-{day}-{session}", number, seconds=2.0), **spoken),  # type: ignore[arg-type]
                " ".join(random.choice(_TALE.split(), 6)).capitalize() + ".",
                day,
            )
            for session in range(sessions)
            for number in range(1, segments + 1)
        ]
        record(self.lake, day, [each.spoken for each in made], self.folder)
        return made

    def hear(self, lessons: Sequence[Lesson], error_rate: float) -> None:
        """The released model hears them with so many errors."""
        random = np.random.default_rng(zlib.crc32(f"{lessons[0].spoken.id} {error_rate}".encode()))
        found = {}
        for each in lessons:
            words = [f"x{word}" if random.random() < error_rate else word for word in each.sentence.split()]
            segment = each.spoken.segment(each.day)
            text = " ".join(words)
            found[segment.audio_sha256] = Hypothesis(segment.audio_sha256, text, 0.1, 2.0, None, avg_logprob=-0.2)
        save_hypotheses(self.lake, self.model.artefact, served_options(self.settings.evaluation), found)

    def correct(self, lessons: Sequence[Lesson], week: int | None = None, text: str | None = None) -> None:
        """A person types what was said, on the Wednesday of the lesson's week or of another one."""
        for day in sorted({each.day for each in lessons}):
            monday = date.fromisoformat(day) if week is None else RELEASED + timedelta(weeks=week)
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

    def week(self, week: int, error_rate: float, **lesson: object) -> list[Lesson]:
        """A whole week: taught, heard and corrected."""
        made = self.teach(week, **lesson)  # type: ignore[arg-type]
        self.hear(made, error_rate)
        self.correct(made)
        return made

    def choose(self, lessons: Sequence[Lesson]) -> None:
        """A review queue chooses these segments because they seem difficult."""
        item = ReviewItem("", "", "", "Ana", 2.0, "", "v1", 1.0, ("unsure: 0.2",), False)
        items = [
            replace(item, segment_id=each.spoken.id, session_id=each.spoken.session, day=each.day)
            for each in lessons
        ]
        save_queue(self.lake, items, datetime(2026, 2, 1, tzinfo=UTC))


def found_school(lake: Lake, store: DirectoryStore, settings: Settings, artefact: Path, folder: Path) -> School:
    """Three weeks of lessons, corrected; v1 is trained on the first sessions of each, measured and released."""
    school = School(lake, store, settings, folder)
    release(lake, store, "v1", artefact, folder / "models")
    lessons = [each for week in (-4, -3, -2) for each in school.teach(week)]
    school.hear(lessons, ERROR_RATE)
    school.correct(lessons)
    snapshot = _snapshot(school, lessons)
    lake.move_pointer("models/v1/plan", asdict(VersionPlan("v1", snapshot.id, "0" * 64, 1.0)), None)
    measure_release(school, ERROR_RATE)
    return school


def measure_release(school: School, error_rate: float) -> None:
    """The evidence of v1: a test set of twelve sessions with that error rate."""
    test, served = lesson(12, 12, seed=4), served_options(school.settings.evaluation)
    comparison = compare_versions(
        test,
        [Evaluated("v1", "candidate", school.model.artefact, served, heard(test, error_rate, seed=5))],
        school.settings.evaluation,
        Provenance(
            snapshot_id="5" * 64,
            conventions=school.conventions.title,
            conventions_digest=school.conventions.digest,
        ),
    )
    pointer = school.lake.pointer("models/v1/report")
    value = {"comparison": school.lake.put_bytes(comparison.to_json().encode())}
    school.lake.move_pointer("models/v1/report", value, pointer)


def _snapshot(school: School, lessons: Sequence[Lesson]) -> Snapshot:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(_rows(lessons))), out)
    conventions = school.conventions
    return save_snapshot(
        school.lake,
        segments=school.lake.put_bytes(out.getvalue()),
        recordings={},
        corpus={},
        conventions=conventions.title,
        conventions_digest=conventions.digest,
        ledger="0" * 64,
        hours={"train": 1.0, "validation": 0.0, "test": 1.0},
        counts={"train": 1, "validation": 0, "test": 1},
    )


def _rows(lessons: Sequence[Lesson]) -> Iterator[dict[str, object]]:
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
