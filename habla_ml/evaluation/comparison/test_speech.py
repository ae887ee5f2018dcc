"""The speech on which models are compared: the test set, one day of the classroom, or a table of clips.

Sealed sessions are in none of them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.general_speech import read_general_speech
from habla_ml.corpus.snapshot import (
    OPEN_SPLITS,
    Snapshot,
    Utterance,
    load_latest_snapshot,
    read_sealed_sounds,
    read_utterances,
)
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.records import Provenance
from habla_ml.evaluation.metrics.non_speech import NonSpeechClip, read_marked_clips
from habla_ml.lake import Lake, catalogue, compute_digest, compute_sha256
from habla_ml.settings import Settings
from habla_ml.settings.data import SpeechSource

TEST = "test"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_TABLES = ("fine_tune_dataset.csv", "fine_tune_dataset.json")


@dataclass(frozen=True)
class TestSpeech(ABC):
    """Transcribed speech that every model decodes."""

    name: str
    """`test set`, `day 2026-02-16`, or the name of a table."""
    provenance: Provenance
    """With the snapshot's id, or the digest of the table."""

    @abstractmethod
    def read(self) -> Iterable[Utterance]:
        """Read the utterances; each call reads them again, so that memory does not hold their audio."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The snapshot that the speech is from; None for a table."""
        return None

    @property
    def warning(self) -> str:
        """What a reader of the figures must know; empty for speech that no version was trained on."""
        return ""

    def read_non_speech_clips(self) -> Iterable[NonSpeechClip]:
        """Read the clips that people marked as without speech."""
        return ()


@dataclass(frozen=True)
class _SnapshotSpeech(TestSpeech):
    lake: Lake
    of: Snapshot
    day: str | None = None
    """None for the test split."""

    @property
    def snapshot(self) -> Snapshot:
        return self.of

    @property
    def warning(self) -> str:
        if self.day is None:
            return ""
        return "Versions may have been trained on parts of this day; only the test set measures new speech."

    def read(self) -> Iterable[Utterance]:
        if self.day is None:
            return read_utterances(self.lake, self.of, "test")
        return chain.from_iterable(read_utterances(self.lake, self.of, split, {self.day}) for split in OPEN_SPLITS)

    def read_non_speech_clips(self) -> Iterable[NonSpeechClip]:
        return read_marked_clips(self.lake, self.of) if self.day is None else ()


@dataclass(frozen=True)
class _TableSpeech(TestSpeech):
    utterances: tuple[Utterance, ...]

    @property
    def warning(self) -> str:
        return "Versions may have been trained on clips of this table; only the test set measures new speech."

    def read(self) -> Iterable[Utterance]:
        return self.utterances


def load_test_speech(on: str, lake: Lake, settings: Settings) -> TestSpeech:
    """Load `test`, a day `YYYY-MM-DD`, or the path of a table or of a folder with one.

    Raises:
        CorpusError: There is no snapshot.
        EvaluationError: There is no such day or folder, or it has no transcribed speech.
    """
    if on == TEST or _DAY.fullmatch(on):
        return _load_snapshot_speech(on, load_latest_snapshot(lake), lake)
    return _load_table(Path(on).expanduser(), lake, settings)


def exclude_sealed(lake: Lake, utterances: Iterable[Utterance]) -> tuple[Utterance, ...]:
    """Return the utterances whose sound is not sealed: a table can have the clips of a sealed session."""
    has_snapshot = lake.read_pointer(catalogue.SPLITS) is not None
    sealed = read_sealed_sounds(lake, load_latest_snapshot(lake)) if has_snapshot else frozenset()
    return tuple(each for each in utterances if each.audio_sha256 not in sealed)


def _load_snapshot_speech(on: str, snapshot: Snapshot, lake: Lake) -> TestSpeech:
    provenance = Provenance(
        snapshot_id=snapshot.id,
        conventions=snapshot.conventions,
        conventions_digest=snapshot.conventions_digest,
    )
    if on == TEST:
        if not snapshot.counts.get("test"):
            raise EvaluationError(
                f"snapshot {snapshot.id[:12]} has no test set (hours by split: {dict(snapshot.hours)}); correct more "
                "sessions, materialise `splits` again, then evaluate"
            )
        return _SnapshotSpeech("test set", provenance, lake, snapshot)
    if on not in snapshot.recordings:
        days = sorted(snapshot.recordings)
        raise EvaluationError(
            f"snapshot {snapshot.id[:12]} has no transcribed speech of {on}; its {len(days)} days are "
            f"{', '.join(days[:3])} … {days[-1] if days else ''}"
        )
    return _SnapshotSpeech(f"day {on}", provenance, lake, snapshot, on)


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
    utterances = exclude_sealed(lake, speech.utterances)
    if not utterances:
        raise EvaluationError(
            f"{table} has no usable transcribed clip outside the sealed sessions; docs/correct.md describes its columns"
        )
    return _TableSpeech(
        table.parent.name if table.name in _TABLES else table.stem,
        Provenance(
            snapshot_id=compute_digest(compute_sha256(table)),
            conventions=conventions.title,
            conventions_digest=conventions.digest,
        ),
        utterances,
    )
