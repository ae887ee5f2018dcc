"""Score Habla's speaker labels in a test set against manual speaker turns.

The reference is a folder of `<session>.rttm`, in seconds from the start time in the session's name. The hypothesis is
the segments of the session: each is a turn of its label and ends at its recording time. A segment without a label is no
turn, so its speech counts as missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.compute as pc

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.errors import InputError
from habla_ml.evaluation.metrics.diarisation import DiarisationScore, SpeakerTurn, read_rttm, score_diarisation
from habla_ml.lake import Lake
from habla_ml.lake.shards import iterate_batches
from habla_ml.names import canonical_file_name, canonical_name
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml.recordings.sessions import parse_session_start, to_utc

_COLUMNS = ("session_id", "recorded_at", "duration_s", "speaker")


def score_speaker_labels(
    lake: Lake, snapshot: Snapshot, folder: Path, zone: ZoneInfo, draws: int, seed: int
) -> DiarisationScore | None:
    """Return the diarisation error rate of Habla's labels in the test sessions with an RTTM file; None without any.

    Args:
        lake: Source of the snapshot and its days.
        snapshot: Its test split has the sessions.
        folder: `<session>.rttm`, each with one recording.
        zone: Time zone of the sessions' names.
        draws: Bootstrap draws of sessions.
        seed: Of the draws.

    Raises:
        InputError: A file is invalid or has several recordings.
        EvaluationError: pyannote.metrics is not installed.
    """
    sessions, days = _read_test_sessions(lake, snapshot)
    found = _read_labelled_turns(lake, [snapshot.recordings[day] for day in days], sessions, zone)
    files = {canonical_file_name(file.stem): file for file in sorted(folder.glob("*.rttm")) if file.is_file()}
    keys = {name: canonical_file_name(name) for name in found}
    marked = {name: _read_marked_turns(files[key]) for name, key in keys.items() if key in files}
    return score_diarisation(marked, found, draws, seed) if marked else None


def _read_test_sessions(lake: Lake, snapshot: Snapshot) -> tuple[set[str], list[str]]:
    sessions, days = set[str](), set[str]()
    for batch in iterate_batches(lake, snapshot.segments, ["session_id", "day", "split"]):
        tested = batch.filter(pc.equal(batch["split"], "test"))
        sessions.update(tested["session_id"].to_pylist())
        days.update(tested["day"].to_pylist())
    return sessions, sorted(days)


def _read_labelled_turns(
    lake: Lake, recordings: Iterable[str], sessions: set[str], zone: ZoneInfo
) -> Mapping[str, list[SpeakerTurn]]:
    """Return session → labelled segments, without sessions in which a labelled segment has no time."""
    turns: dict[str, list[SpeakerTurn]] = {name: [] for name in sessions}
    for each in recordings:
        for row in read_segment_metadata(lake, each, _COLUMNS):
            name, start = row["session_id"], parse_session_start(row["session_id"])
            if name not in turns or not (label := canonical_name(row["speaker"] or "")):
                continue
            if start is None or row["recorded_at"] is None:
                del turns[name]
                continue
            end_s = (row["recorded_at"] - to_utc(start, zone)).total_seconds()
            turns[name].append(SpeakerTurn(max(0.0, end_s - row["duration_s"]), end_s, label))
    return turns


def _read_marked_turns(file: Path) -> tuple[SpeakerTurn, ...]:
    recordings = read_rttm(file)
    if len(recordings) > 1:
        raise InputError(
            f"{file} has {len(recordings)} recordings; write one file for each session, with the name of its folder"
        )
    return next(iter(recordings.values()), ())
