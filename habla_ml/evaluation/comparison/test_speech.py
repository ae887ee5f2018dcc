"""The speech on which entrants meet: the test set, one day of the classroom, or a table of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.general_speech import read_general_speech
from habla_ml.corpus.snapshot import SPLITS, Utterance, load_latest_snapshot, read_utterances
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.metrics.non_speech import NonSpeechClip, read_marked_clips
from habla_ml.lake import Lake, compute_digest, compute_sha256
from habla_ml.settings import Settings
from habla_ml.settings.data import SpeechSource

TEST = "test"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_TABLES = ("fine_tune_dataset.csv", "fine_tune_dataset.json")


@dataclass(frozen=True)
class TestSpeech:
    """Transcribed speech that all entrants hear."""

    name: str
    """For tables: `test set`, `day 2026-02-16`, or the table's name."""
    read: Callable[[], Iterable[Utterance]]
    snapshot: str
    """Id of the snapshot, or a digest of the table."""
    conventions: str
    conventions_digest: str
    read_non_speech_clips: Callable[[], Iterable[NonSpeechClip]] = tuple
    """What people found there to be without speech."""
    warning: str | None = None
    """What somebody who reads the figures must know."""


def load_test_speech(on: str, lake: Lake, settings: Settings) -> TestSpeech:
    """Understand `test`, a day `YYYY-MM-DD`, or the path of a table or of a folder that holds one.

    Raises:
        CorpusError: There is no snapshot.
        EvaluationError: There is no such day or folder, or nothing in it that somebody transcribed.
    """
    if on == TEST:
        return _load_test_split(lake)
    if _DAY.fullmatch(on):
        return _load_day(on, lake)
    return _load_table(Path(on).expanduser(), lake, settings)


def _load_test_split(lake: Lake) -> TestSpeech:
    snapshot = load_latest_snapshot(lake)
    if not snapshot.counts.get("test"):
        raise EvaluationError(
            f"snapshot {snapshot.id[:12]} has no test set; correct more sessions, then try again"
        )
    return TestSpeech(
        "test set",
        lambda: read_utterances(lake, snapshot, "test"),
        snapshot.id,
        snapshot.conventions,
        snapshot.conventions_digest,
        lambda: read_marked_clips(lake, snapshot),
    )


def _load_day(day: str, lake: Lake) -> TestSpeech:
    snapshot = load_latest_snapshot(lake)
    if day not in snapshot.recordings:
        days = sorted(snapshot.recordings)
        raise EvaluationError(
            f"snapshot {snapshot.id[:12]} has no transcribed speech of {day}; its {len(days)} days are "
            f"{', '.join(days[:3])} … {days[-1] if days else ''}"
        )
    return TestSpeech(
        f"day {day}",
        lambda: chain.from_iterable(read_utterances(lake, snapshot, split, {day}) for split in SPLITS),
        snapshot.id,
        snapshot.conventions,
        snapshot.conventions_digest,
        warning="A day holds speech that versions were trained on; only the test set tells how they do on new speech.",
    )


def _load_table(path: Path, lake: Lake, settings: Settings) -> TestSpeech:
    table = next((path / name for name in _TABLES if (path / name).is_file()), path)
    if not table.is_file():
        raise EvaluationError(
            f"{path} is neither `test`, a day like 2026-02-16, a table, nor a folder with {' or '.join(_TABLES)}"
        )
    conventions = load_conventions(settings.corpus.conventions)
    speech = read_general_speech(
        (SpeechSource(path=table),),
        conventions,
        settings.recordings.longest_segment_s,
        settings.work_folder,
        read_tombstones(lake).sounds,
    )
    if not speech.utterances:
        raise EvaluationError(
            f"{table} holds no transcribed clip that can be used; docs/correct.md names its columns"
        )
    return TestSpeech(
        table.parent.name if table.name in _TABLES else table.stem,
        lambda: speech.utterances,
        compute_digest(compute_sha256(table)),
        conventions.title,
        conventions.digest,
    )
