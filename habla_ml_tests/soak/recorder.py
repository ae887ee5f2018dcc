"""A recorder that writes lessons as Habla does: segments first, `metadata.json` when the lesson stops, texts later."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from habla_ml.demo.classroom import ClassroomPlan, write_sessions
from habla_ml_tests.soak.live_deployment import FIRST_DAY

_PEOPLE_SEED = 5
_DAYS = 3
_SEGMENTS = 3
_FILES_AT_THE_END = ("raw_stream.webm", "metadata.json", "ground_truth.json", "corrected_ground_truth.json")


@dataclass
class RecordedLesson:
    """One lesson in Habla's folder."""

    path: Path
    segments: tuple[str, ...]
    reviewed: int
    """Segments whose text a person typed or confirmed."""
    has_good_clock: bool
    """Whether the folder's date lies between `recordings.first_day` and today."""
    finished_at: float
    """From `time.monotonic`."""
    host_seconds: float = 0.0
    """Seconds since then with a working host."""
    is_deleted: bool = False

    @property
    def name(self) -> str:
        """The session's id in the lake."""
        return self.path.name

    @property
    def day(self) -> str:
        """The day of the session, `YYYY-MM-DD`."""
        stamp = self.name.split("_")[-2]
        return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:]}"


@dataclass
class Recorder:
    """Writes lessons into `folder`, each with other speech.

    Attributes:
        folder: Habla's recordings folder.
        lessons: All lessons, also the deleted ones, in order of recording.
    """

    folder: Path
    lessons: list[RecordedLesson] = field(default_factory=list)

    def record(self, stamp: str | None = None, pause_s: float = 0.0) -> RecordedLesson:
        """Record a lesson; `stamp` is the date of a wrong clock, as `20990101_120000`."""
        number = len(self.lessons)
        first_day = date.fromisoformat(FIRST_DAY) + timedelta(days=number % _DAYS)
        with tempfile.TemporaryDirectory() as scratch:
            plan = ClassroomPlan(
                first_day=first_day, days=1, sessions_per_day=1, segments_per_session=_SEGMENTS, seed=1000 + number
            )
            (source,) = write_sessions(Path(scratch), plan, _PEOPLE_SEED)
            name = source.name if stamp is None else f"{source.name.split('_')[0]}_{stamp}"
            target = self.folder / name
            target.mkdir()
            segments = tuple(sorted(each.name for each in source.glob("segment_*.wav")))
            for each in segments:
                shutil.copyfile(source / each, target / each)
                time.sleep(pause_s)
            for each in _FILES_AT_THE_END:
                # Habla writes its JSON in place, so a reader can meet half a file.
                content = (source / each).read_bytes()
                with (target / each).open("wb") as out:
                    out.write(content[: len(content) // 2])
                    out.flush()
                    time.sleep(min(pause_s, 0.05))
                    out.write(content[len(content) // 2 :])
        texts = json.loads((target / "corrected_ground_truth.json").read_text("utf-8"))["segments"]
        reviewed = sum(each["reviewed"] for each in texts)
        lesson = RecordedLesson(target, segments, reviewed, stamp is None, time.monotonic())
        self.lessons.append(lesson)
        return lesson

    def clean_up(self, max_recordings: int) -> None:
        """Delete the oldest folders beyond `max_recordings`, as Habla does after each lesson."""
        kept = list(self.present())
        for lesson in kept[: max(0, len(kept) - max_recordings)]:
            shutil.rmtree(lesson.path)
            lesson.is_deleted = True

    def present(self) -> Iterator[RecordedLesson]:
        """Yield the lessons that are in the folder, oldest first."""
        yield from (each for each in self.lessons if not each.is_deleted)
