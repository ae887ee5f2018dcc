import io
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from habla_ml.corpus.snapshot import Snapshot, save_snapshot
from habla_ml.errors import InputError
from habla_ml.evaluation.metrics.diarisation import SpeakerTurn, write_rttm
from habla_ml.evaluation.metrics.speaker_turns import score_speaker_labels
from habla_ml.lake import DirectoryStore, Lake

ZONE = ZoneInfo("Europe/Madrid")
LESSON, OTHER, UNMARKED = "1_20260220_081500", "2_20260220_091500", "3_20260220_101500"
TIMELESS = "4_20260220_111500"


def put_parquet(lake: Lake, rows: list[dict]) -> str:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return lake.put_bytes(out.getvalue())


def make_segment_row(session: str, hour: int, end_s: float | None, duration_s: float, speaker: str | None) -> dict:
    """Make a segment of a day's recordings. Sessions start at a quarter past; Madrid is an hour ahead of UTC."""
    start = datetime(2026, 2, 20, hour - 1, 15, tzinfo=UTC)
    at = None if end_s is None else start + timedelta(seconds=end_s)
    return {"session_id": session, "recorded_at": at, "duration_s": duration_s, "speaker": speaker}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


@pytest.fixture
def snapshot(lake: Lake) -> Snapshot:
    day = put_parquet(
        lake,
        [
            make_segment_row(LESSON, 8, 10.0, 10.0, "SPEAKER_00"),
            make_segment_row(LESSON, 8, 20.0, 8.0, "SPEAKER_01"),
            make_segment_row(LESSON, 8, 24.0, 4.0, None),
            make_segment_row(LESSON, 8, 30.0, 6.0, "SPEAKER_01"),
            make_segment_row(OTHER, 9, 5.0, 5.0, "Ana"),
            make_segment_row(UNMARKED, 10, 5.0, 5.0, "Ana"),
            make_segment_row(TIMELESS, 11, None, 5.0, "Ana"),
            make_segment_row(TIMELESS, 11, 9.0, 4.0, "Ana"),
        ],
    )
    splits = {LESSON: "test", OTHER: "train", UNMARKED: "test", TIMELESS: "test"}
    segments = put_parquet(
        lake, [{"session_id": name, "day": "2026-02-20", "split": split} for name, split in splits.items()]
    )
    hours, counts = {"train": 0.1, "validation": 0.0, "test": 0.1}, {"train": 1, "validation": 0, "test": 3}
    days = {"2026-02-20": day}
    return save_snapshot(lake, Snapshot("", segments, days, {}, "orthographic-v1", "c" * 64, "1" * 64, hours, counts))


def test_labels_have_the_times_of_their_segments_and_only_marked_test_sessions_count(
    lake: Lake, snapshot: Snapshot, tmp_path: Path
) -> None:
    marked = (
        SpeakerTurn(0, 10, "Profe"),
        SpeakerTurn(12, 20, "Ana"),
        SpeakerTurn(20, 24, "Ana"),
        SpeakerTurn(24, 30, "Profe"),
    )
    for session in (LESSON, OTHER, TIMELESS):
        write_rttm(tmp_path / f"{session}.rttm", session, marked)
    found = score_speaker_labels(lake, snapshot, tmp_path, ZONE, 200, 1)
    assert found is not None
    (one,) = found.recordings
    assert one.recording == LESSON
    assert one.speech_s == pytest.approx(28)
    assert one.missed_s == pytest.approx(4), "a segment without a label is no turn"
    assert one.false_alarm_s == pytest.approx(0)
    assert one.confusion_s == pytest.approx(6), "the last turn has Ana's label, but the teacher speaks"


def test_there_is_no_score_without_a_marked_session(lake: Lake, snapshot: Snapshot, tmp_path: Path) -> None:
    assert score_speaker_labels(lake, snapshot, tmp_path, ZONE, 200, 1) is None


def test_a_file_of_several_recordings_is_refused(lake: Lake, snapshot: Snapshot, tmp_path: Path) -> None:
    (tmp_path / f"{LESSON}.rttm").write_text(
        "SPEAKER a 1 0 1 <NA> <NA> A <NA> <NA>\nSPEAKER b 1 0 1 <NA> <NA> A <NA> <NA>\n"
    )
    with pytest.raises(InputError, match="has 2 recordings"):
        score_speaker_labels(lake, snapshot, tmp_path, ZONE, 200, 1)


def test_a_label_in_two_spellings_is_one_speaker_and_a_file_is_found_in_both_forms(lake: Lake, tmp_path: Path) -> None:
    session = "niños_20260220_081500"
    spoken = [
        make_segment_row(session, 8, 10.0, 10.0, "Lucía"),
        make_segment_row(session, 8, 20.0, 8.0, "LUCI\u0301A "),
    ]
    day = put_parquet(lake, spoken)
    segments = put_parquet(lake, [{"session_id": session, "day": "2026-02-20", "split": "test"}])
    hours, counts = {"train": 0.0, "validation": 0.0, "test": 0.1}, {"train": 0, "validation": 0, "test": 2}
    tested = Snapshot("", segments, {"2026-02-20": day}, {}, "o", "c" * 64, "1" * 64, hours, counts)
    marked = (SpeakerTurn(0, 10, "L"), SpeakerTurn(12, 20, "L"))
    write_rttm(tmp_path / f"{unicodedata.normalize('NFD', session)}.rttm", "x", marked)
    found = score_speaker_labels(lake, save_snapshot(lake, tested), tmp_path, ZONE, 200, 1)
    assert found is not None
    assert found.recordings[0].speech_s == pytest.approx(18)
    assert found.recordings[0].confusion_s == pytest.approx(0)
