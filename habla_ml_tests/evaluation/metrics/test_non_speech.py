import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.audio import SAMPLE_RATE, pcm_sha256
from habla_ml.corpus.build import build_day
from habla_ml.corpus.non_speech_segments import is_non_speech
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.corpus.splits import load_ledger, make_snapshot
from habla_ml.errors import InputError
from habla_ml.evaluation.metrics.hallucination_detection import find_non_speech_hallucinations
from habla_ml.evaluation.metrics.non_speech import (
    NonSpeechSet,
    build_non_speech_set,
    make_built_in_clips,
    read_folder_clips,
    read_marked_clips,
)
from habla_ml.lake import Lake
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.open import open_transcriber
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.habla_sessions import (
    DAY,
    HablaWorkspace,
    ingest_into,
    make_noise,
    make_workspace,
    write_session,
    write_wav,
)

SESSIONS = tuple(f"{number}1111_20260216_{9 + number:02d}0000" for number in range(1, 5))
TEXTS_BY_SEGMENT = {
    1: ("Hola a todos.", "corrected", ""),
    2: ("", "unusable", "no_speech"),
    3: ("[noise]", "corrected", ""),
    4: ("", "unusable", "no_speech,private"),
    5: ("", "unusable", "overlapping"),
    6: ("[inaudible]", "corrected", ""),
}


def make_event(session: str, number: int, text: str, status: str, reason: str, hour: int = 12) -> AnnotationEvent:
    return AnnotationEvent(
        segment_id=segment_id(HABLA_SOURCE, session, f"segment_{number:03d}.wav"),
        session_id=session,
        day=DAY,
        text=text,
        status=status,
        reason=reason,
        person="Ana",
        source="label_studio",
        created_at=datetime(2026, 2, 17, hour, tzinfo=UTC),
        seen_text=None,
    )


def make_annotated_snapshot(workspace: HablaWorkspace, more: tuple[AnnotationEvent, ...] = ()) -> Snapshot:
    for session in SESSIONS:
        write_session(workspace.recordings, session, segments=len(TEXTS_BY_SEGMENT))
    ingest_into(workspace)
    events = [make_event(session, number, *row) for session in SESSIONS for number, row in TEXTS_BY_SEGMENT.items()]
    append_events(workspace.lake, DAY, [*events, *more], {})
    build_day(workspace.lake, DAY, workspace.conventions, workspace.settings)
    return make_snapshot(workspace.lake, workspace.settings, workspace.conventions)


def list_sessions(lake: Lake, split: str) -> list[str]:
    groups = load_ledger(lake, lake.read_pointer("splits/ledger")).groups
    return [session for session, of in groups.items() if of == split]


@pytest.mark.long
def test_there_are_sixty_built_in_sounds_which_the_seed_determines():
    clips, again, other = list(make_built_in_clips(1)), list(make_built_in_clips(1)), list(make_built_in_clips(2))
    assert len(clips) == 60
    assert [each.audio_sha256 for each in clips] == [each.audio_sha256 for each in again]
    assert len({each.clip_id for each in clips}) == len({each.audio_sha256 for each in clips}) == 60
    changed = [a.kind for a, b in zip(clips, other, strict=True) if a.audio_sha256 != b.audio_sha256]
    assert set(changed) == {each.kind for each in clips} - {"silence"}
    assert {min(each.duration_s for each in clips), max(each.duration_s for each in clips)} == {1.0, 6.0}
    assert all(each.duration_s == len(each.audio) / SAMPLE_RATE for each in clips)


@pytest.mark.long
def test_every_take_has_new_sounds_except_silence():
    clips = list(make_built_in_clips(1, takes=3))
    assert len(clips) == 60 + 2 * 57
    assert len({each.audio_sha256 for each in clips}) == len({each.clip_id for each in clips}) == len(clips)


def test_a_folder_gives_its_wavs_by_path_and_lists_invalid_files(tmp_path: Path):
    (tmp_path / "fan").mkdir()
    latin = tmp_path / os.fsdecode("niños".encode("latin-1"))  # a name from an old disk
    latin.mkdir()
    hum = make_noise(1.0, seed=1)
    write_wav(latin / "c.wav", hum)
    write_wav(tmp_path / "fan" / "b.wav", hum)
    write_wav(tmp_path / "a.WAV", make_noise(0.5, seed=2))
    write_wav(tmp_path / "long.wav", make_noise(31.0, seed=3))
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "notes.txt").write_text("no sound")
    clips, problems = read_folder_clips(tmp_path)
    assert [(each.clip_id, each.kind, each.source) for each in clips] == [
        ("a.WAV", "folder", "folder"),
        ("fan/b.wav", "fan", "folder"),
        (r"ni\udcf1os/c.wav", r"ni\udcf1os", "folder"),
    ]
    assert clips[1].audio_sha256 == pcm_sha256(hum)
    np.testing.assert_array_equal(clips[1].audio, hum / np.float32(32768))
    assert [each.split()[0] for each in problems] == ["broken.wav", "long.wav"]
    assert "more than the 30 s" in problems[1]


def test_a_missing_folder_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"nowhere is no folder.*evaluation\.non_speech"):
        read_folder_clips(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "status", "reason", "expected"),
    [
        ("", "unusable", "no_speech", True),
        ("", "unusable", "No habla nadie", True),
        ("", "unusable", "noise, breath", True),
        ("", "unusable", "", False),
        ("", "unusable", "no_speech,private", False),
        ("", "unusable", "unintelligible,no_speech", False),
        ("[noise]", "corrected", "", True),
        ("[Silence] ... [noise]", "confirmed", "", True),
        ("[noise] Hola", "corrected", "", False),
        ("[inaudible]", "corrected", "", False),
        ("...", "corrected", "", False),
        ("", "corrected", "", False),
    ],
)
def test_only_a_clear_mark_of_a_person_means_no_speech(text, status, reason, expected):
    assert is_non_speech(text, status, reason) is expected


def test_marked_clips_are_those_of_test_sessions_without_private_speech(tmp_path: Path):
    workspace = make_workspace(tmp_path)
    snapshot = make_annotated_snapshot(workspace)
    (session,) = list_sessions(workspace.lake, "test")
    clips = list(read_marked_clips(workspace.lake, snapshot))
    expected = {segment_id(HABLA_SOURCE, session, f"segment_{number:03d}.wav") for number in (2, 3)}
    assert {each.clip_id for each in clips} == expected
    assert {each.group for each in clips} == {session}
    assert all(each.audio_sha256 == pcm_sha256(each.audio) for each in clips)
    assert all(each.duration_s == pytest.approx(0.4) for each in clips)
    trained = {each.group for each in read_marked_clips(workspace.lake, snapshot, "train")}
    assert trained == set(list_sessions(workspace.lake, "train"))


def test_the_newest_annotation_counts_and_a_limit_keeps_the_first_ids(tmp_path: Path):
    workspace = make_workspace(tmp_path)
    later = tuple(make_event(session, 2, "Sí que hablo.", "corrected", "", hour=15) for session in SESSIONS)
    snapshot = make_annotated_snapshot(workspace, later)
    (session,) = list_sessions(workspace.lake, "test")
    assert [each.clip_id for each in read_marked_clips(workspace.lake, snapshot)] == [
        segment_id(HABLA_SOURCE, session, "segment_003.wav")
    ]
    assert list(read_marked_clips(workspace.lake, snapshot, most=0)) == []


@pytest.mark.long
def test_the_set_has_every_sound_once_and_its_digest_depends_on_the_sounds(tmp_path: Path):
    workspace = make_workspace(tmp_path)
    snapshot = make_annotated_snapshot(workspace)
    folder = tmp_path / "quiet"
    folder.mkdir()
    first = next(read_marked_clips(workspace.lake, snapshot))
    write_wav(folder / "copy.wav", np.rint(first.audio * 32768).astype(np.int16))
    write_wav(folder / "own.wav", make_noise(0.5, seed=9))
    whole = build_non_speech_set(
        EvaluationSettings(non_speech=folder, seed=1), read_marked_clips(workspace.lake, snapshot)
    )
    sources = [each.source for each in whole.clips]
    assert {source: sources.count(source) for source in sources} == {"marked": 2, "folder": 1, "built-in": 60}
    assert len({each.audio_sha256 for each in whole.clips}) == 63
    one, other = (build_non_speech_set(EvaluationSettings(seed=seed)) for seed in (1, 2))
    assert one.digest == NonSpeechSet(tuple(reversed(one.clips))).digest
    assert one.digest != whole.digest != other.digest
    assert build_non_speech_set(EvaluationSettings(non_speech_takes=0)).clips == ()


@pytest.mark.long
def test_a_real_engine_decodes_every_clip(artefact: Path):
    clips = tuple(make_built_in_clips(1))[::3]
    transcriber = open_transcriber(DecodingOptions(max_new_tokens=4), artefact, "cpu", 1)
    try:
        hypotheses = transcriber.transcribe(clips)
    finally:
        transcriber.close()
    assert [each.failure for each in hypotheses] == [None] * len(clips)
    found = find_non_speech_hallucinations(clips, {each.audio_sha256: each for each in hypotheses})
    assert [each.text for each in found] == [each.text for each in hypotheses]
