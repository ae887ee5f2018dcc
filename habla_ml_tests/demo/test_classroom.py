import csv
import hashlib
import json
import subprocess
import sys
import time
import wave
from collections import Counter
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from habla_ml.corpus.speakers import load_speaker_map
from habla_ml.demo.classroom import ClassroomPlan, write_castilian_set, write_sessions, write_speaker_map
from habla_ml.demo.habla_files import write_wav
from habla_ml.demo.synthetic_speakers import make_andalusian_classroom, synthesize_utterance
from habla_ml.evaluation.metrics.alignments import read_alignments
from habla_ml.evaluation.metrics.diarisation import read_rttm

PLAN = ClassroomPlan(
    first_day=date(2026, 2, 20),
    days=2,
    sessions_per_day=2,
    segments_per_session=8,
    seed=1,
    has_faulty_sessions=True,
)
PEOPLE_SEED = 7


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    write_sessions(folder, PLAN, PEOPLE_SEED)
    return folder


@pytest.fixture(scope="module")
def complete_sessions(recordings) -> list[Path]:
    return sorted(path for path in recordings.iterdir() if int(path.name[-6:-4]) < 20)


@pytest.fixture(scope="module")
def faulty_sessions(recordings) -> dict[str, Path]:
    """Return the faulty sessions: they start every five minutes from 20:00 on the last day, in this order."""
    kinds = ("live", "crashed", "cut off", "shifted", "uncorrected", "english", "empty")
    folders = sorted((path.name[-6:], path) for path in recordings.iterdir() if int(path.name[-6:-4]) >= 20)
    return dict(zip(kinds, (path for _, path in folders), strict=True))


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_folders_are_named_by_session_and_local_start(complete_sessions):
    assert len(complete_sessions) == 4
    assert {folder.name.split("_")[1] for folder in complete_sessions} == {
        "20260220",
        "20260223",
    }  # no lessons at weekends
    for folder in complete_sessions:
        metadata = read(folder, "metadata.json")
        started = datetime.fromisoformat(metadata["started_at"])
        assert started.tzinfo is None
        assert folder.name == f"{metadata['session_id']}_{started:%Y%m%d_%H%M%S}"


def test_metadata_describes_the_wav_files(complete_sessions):
    for folder in complete_sessions:
        metadata = read(folder, "metadata.json")
        assert metadata["total_segments"] == len(metadata["segments"]) == 8
        for number, entry in enumerate(metadata["segments"], 1):
            assert entry["segment_id"] == number
            assert entry["filename"] == f"segment_{number:03d}.wav"
            path = folder / entry["filename"]
            info = soundfile.info(path)
            assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
            assert entry["size_bytes"] == path.stat().st_size
            assert entry["duration_seconds"] == pytest.approx(info.duration, abs=0.001)
            assert 1.0 < info.duration < 7.0


def test_rejected_segments_have_no_transcript_and_others_do(complete_sessions):
    entries = [entry for folder in complete_sessions for entry in read(folder, "metadata.json")["segments"]]
    rejected = [entry for entry in entries if entry.get("asr_status") == "rejected"]
    optional = {"raw_transcript", "speaker", "confidence", "translation", "idioms_detected"}
    assert 0 < len(rejected) < len(entries)
    assert all(not optional & set(entry) for entry in rejected)
    assert all(optional <= set(entry) for entry in entries if "asr_status" not in entry)


def test_corrections_hold_truth_and_some_machine_text(complete_sessions):
    for folder in complete_sessions:
        machine, human = read(folder, "ground_truth.json"), read(folder, "corrected_ground_truth.json")
        assert "reviewed" not in machine["segments"][0]
        assert datetime.fromisoformat(human["corrected_at"]).tzinfo is not None
        assert datetime.fromisoformat(machine["generated_at"]).tzinfo is None
        for before, after in zip(machine["segments"], human["segments"], strict=True):
            assert before["confidence"] <= 0
            changed = before["transcript"] != after["transcript"]
            assert after["human_corrected"] == changed
            assert after["reviewed"] or not changed
        assert human["correction_stats"] == {
            "reviewed": sum(entry["reviewed"] for entry in human["segments"]),
            "human_corrected": sum(entry["human_corrected"] for entry in human["segments"]),
            "total": 8,
        }
    everything = [entry for f in complete_sessions for entry in read(f, "corrected_ground_truth.json")["segments"]]
    assert 0.6 < np.mean([entry["reviewed"] for entry in everything]) < 1.0
    assert any(entry["human_corrected"] for entry in everything)


def test_the_same_plan_writes_the_same_bytes_and_another_seed_does_not(recordings, tmp_path):
    small = ClassroomPlan(date(2026, 3, 2), days=1, sessions_per_day=1, segments_per_session=3, seed=2)
    other = ClassroomPlan(date(2026, 3, 2), days=1, sessions_per_day=1, segments_per_session=3, seed=3)
    for name, plan in (("one", small), ("two", small), ("three", other)):
        write_sessions(tmp_path / name, plan, PEOPLE_SEED)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert not set(digest(tmp_path / "one").values()) & {
        value for key, value in digest(tmp_path / "three").items() if key.endswith(".wav")
    }


_WRITE = """
import sys
from datetime import date
from pathlib import Path
from habla_ml.demo.classroom import ClassroomPlan, write_sessions
write_sessions(Path(sys.argv[1]), ClassroomPlan(date(2026, 3, 2), 1, 2, 8, seed=4), 7)
"""


@pytest.mark.slow
def test_another_process_at_another_time_writes_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", _WRITE, str(tmp_path / name)], check=True)
        time.sleep(1.1)  # the default seed of espeak changes each second
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_a_running_session_has_audio_only(faulty_sessions):
    assert {path.suffix for path in faulty_sessions["live"].iterdir()} == {".wav", ".webm"}


def test_a_crashed_session_is_old_and_has_no_metadata(faulty_sessions):
    folder = faulty_sessions["crashed"]
    assert not (folder / "metadata.json").exists()
    assert (folder / "corrected_ground_truth.json").exists()
    newest = max(path.stat().st_mtime for path in folder.iterdir())
    assert newest < faulty_sessions["live"].stat().st_mtime - 80_000


def test_a_truncated_wav_is_shorter_than_its_header_and_a_listed_file_is_missing(faulty_sessions):
    folder = faulty_sessions["cut off"]
    path = folder / "segment_001.wav"
    with wave.open(str(path)) as wav:
        assert 44 + 2 * wav.getnframes() > path.stat().st_size
    named = {entry["filename"] for entry in read(folder, "metadata.json")["segments"]}
    assert named - {path.name for path in folder.iterdir()} == {"segment_009.wav"}


def test_shifted_counters_do_not_match_the_file_names(faulty_sessions):
    entries = read(faulty_sessions["shifted"], "metadata.json")["segments"]
    assert [entry["segment_id"] for entry in entries] == [number + 3 for number in range(1, 9)]
    assert [entry["filename"] for entry in entries] == [f"segment_{number:03d}.wav" for number in range(1, 9)]


def test_an_uncorrected_session_has_machine_text_only(faulty_sessions):
    names = {path.name for path in faulty_sessions["uncorrected"].iterdir()}
    assert "ground_truth.json" in names
    assert "corrected_ground_truth.json" not in names


def test_the_english_session_records_its_direction(faulty_sessions):
    truth = read(faulty_sessions["english"], "ground_truth.json")
    assert truth["direction"] == "en_to_es"
    assert truth["segments"][0]["transcript"].startswith("Good morning")


def test_the_empty_session_is_empty(faulty_sessions):
    assert list(faulty_sessions["empty"].iterdir()) == []


def test_each_person_has_a_distinct_voice():
    classroom = make_andalusian_classroom(PEOPLE_SEED)
    assert len(classroom.students) == 20
    assert len({student.name for student in classroom.students}) == 20
    assert len({student.voice for student in classroom.students}) == 20
    assert classroom == make_andalusian_classroom(PEOPLE_SEED)
    assert classroom != make_andalusian_classroom(PEOPLE_SEED + 1)


def test_quiet_speech_is_twenty_decibels_quieter():
    classroom = make_andalusian_classroom(PEOPLE_SEED)
    levels = []
    for quiet in (False, True):
        rng = np.random.default_rng(1)
        utterances = [synthesize_utterance(classroom.teacher, classroom.room, rng, quiet=quiet) for _ in range(10)]
        levels.append(np.mean([10 * np.log10(np.mean((each.pcm / 32768) ** 2)) for each in utterances]))
    assert levels[0] - levels[1] == pytest.approx(21.0, abs=2.0)


def test_the_castilian_set_is_a_table_of_wav_files(tmp_path):
    table = write_castilian_set(tmp_path, 5, PEOPLE_SEED)
    with table.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["audio_path", "transcript", "duration", "speaker", "notes"]
    assert len(rows) == 5
    for row in rows:
        info = soundfile.info(tmp_path / row["audio_path"])
        assert info.duration == pytest.approx(float(row["duration"]), abs=0.001)


def test_an_impossible_plan_is_refused():
    with pytest.raises(ValueError, match="sessions_per_day is 11"):
        ClassroomPlan(date(2026, 2, 20), days=1, sessions_per_day=11, segments_per_session=1, seed=0)


def test_a_wav_file_keeps_its_samples(tmp_path):
    samples = np.array([0, 1, -1, 32767, -32768], dtype=np.int16)
    write_wav(tmp_path / "a.wav", samples)
    read_back, rate_hz = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert rate_hz == 16_000
    np.testing.assert_array_equal(read_back, samples)


@pytest.mark.long
def test_word_times_are_keyed_by_audio_digest_and_change_no_recording(recordings, tmp_path):
    table = tmp_path / "words.csv"
    write_sessions(tmp_path / "again", PLAN, PEOPLE_SEED, alignments=table)
    sounds = {}
    for path in sorted((tmp_path / "again").rglob("*.wav")):
        with wave.open(str(path)) as wav:
            sounds[hashlib.sha256(wav.readframes(wav.getnframes())).hexdigest()] = wav.getnframes() / 16_000
    found = read_alignments(table)
    assert 0.15 * 32 < len(found) < 32, "sentences in which two words merged have no places"
    for sound, words in found.items():
        assert 0.09 < words[0].start_s < 0.36
        assert words[-1].end_s < sounds[sound]
    complete_sessions = [path for path in (tmp_path / "again").iterdir() if int(path.name[-6:-4]) < 20]
    assert all(digest(path) == digest(recordings / path.name) for path in complete_sessions)


def test_visitors_replace_the_class_in_one_lesson_of_the_first_days_only(recordings, tmp_path):
    write_sessions(
        tmp_path, replace(PLAN, visit_days=1, has_faulty_sessions=False), PEOPLE_SEED, turns=tmp_path / "turns"
    )
    classroom, complete_sessions = (
        make_andalusian_classroom(PEOPLE_SEED),
        sorted(path for path in tmp_path.iterdir() if path.name != "turns"),
    )
    children, guests = ({each.name for each in some} for some in (classroom.students, classroom.visitors))
    assert len(guests) == 4
    assert not children & guests
    speakers = {
        path.name: {each.speaker for each in read_rttm(tmp_path / "turns" / f"{path.name}.rttm")[path.name]}
        for path in complete_sessions
    }
    visits = [path for path in complete_sessions if speakers[path.name] & guests]
    assert [path.name[-15:-7] for path in visits] == ["20260220"]
    assert all(not speakers[path.name] & children for path in visits)
    others = [path for path in complete_sessions if path not in visits]
    assert len(others) == 3
    assert all(digest(path) == digest(recordings / path.name) for path in others)


def test_turns_end_when_the_segment_was_written_and_have_its_duration(tmp_path):
    write_sessions(tmp_path, replace(PLAN, has_faulty_sessions=False), PEOPLE_SEED, turns=tmp_path / "turns")
    for path in tmp_path.iterdir():
        if path.name == "turns":
            continue
        start = datetime.strptime(path.name[-15:], "%Y%m%d_%H%M%S")
        turns = read_rttm(tmp_path / "turns" / f"{path.name}.rttm")[path.name]
        for turn, entry in zip(turns, read(path, "metadata.json")["segments"], strict=True):
            written = (datetime.fromisoformat(entry["recorded_at"]) - start).total_seconds()
            assert turn.end_s == pytest.approx(written, abs=0.002)
            assert turn.end_s - turn.start_s == pytest.approx(entry["duration_seconds"], abs=0.002)


def test_the_speaker_map_has_the_teacher_only_or_all_people(tmp_path):
    path = tmp_path / "people.yaml"
    write_speaker_map(path, PEOPLE_SEED, with_children=False)
    assert [(each.name, each.role) for each in load_speaker_map(path).people] == [("Profe", "teacher")]
    write_speaker_map(path, PEOPLE_SEED, with_children=True)
    roles = Counter(each.role for each in load_speaker_map(path).people)
    assert roles == {"teacher": 1, "student": 24}
