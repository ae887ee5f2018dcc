"""A copy of Habla's folder with names in capitals gives the same segments, and no file is left out silently."""

from __future__ import annotations

from pathlib import Path

from habla_ml.annotation.event_log import load_events, read_events
from habla_ml.annotation.sources import collect_events
from habla_ml.recordings.ingest import IngestedDay
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml_tests.testing.habla_sessions import (
    DAY,
    NOW,
    A,
    HablaWorkspace,
    ingest_into,
    make_noise,
    make_workspace,
    write_corrections,
    write_session,
    write_wav,
)
from habla_ml_tests.testing.transcript_tables import import_table_file, write_audio_csv


def read_rows(workspace: HablaWorkspace, day: IngestedDay) -> list[dict[str, object]]:
    return [dict(row) for row in read_segment_metadata(workspace.lake, day.metadata)]


def rename_to_capitals(session: Path, *numbers: int) -> None:
    for number in numbers:
        (session / f"segment_{number:03d}.wav").rename(session / f"SEGMENT_{number:03d}.WAV")


def test_segments_in_capitals_are_the_same_segments_with_their_texts(tmp_path: Path) -> None:
    usual, copied = (make_workspace(tmp_path / name) for name in ("usual", "copied"))
    for workspace in (usual, copied):
        write_corrections(write_session(workspace.recordings, A, 3), {2: "Lo que dije."})
    rename_to_capitals(copied.recordings / A, 1, 2)
    expected, found = ingest_into(usual), ingest_into(copied)
    assert read_rows(copied, found) == read_rows(usual, expected)
    assert found.skipped_inputs == ()
    for workspace in (usual, copied):
        collect_events(workspace.lake, DAY, workspace.settings, NOW)
    [first], [second] = (
        read_events(each.lake, log) for each in (usual, copied) if (log := load_events(each.lake, DAY))
    )
    assert first == second


def test_of_two_names_that_differ_in_capitals_the_usual_one_is_read_and_the_other_reported(
    workspace: HablaWorkspace,
) -> None:
    session = write_session(workspace.recordings, A, 2)
    write_wav(session / "SEGMENT_001.WAV", make_noise(seed=99))
    before = read_rows(workspace, ingest_into(workspace))
    found = ingest_into(workspace)
    assert [row["file_name"] for row in before] == ["segment_001.wav", "segment_002.wav"]
    assert {each.file: each.reason for each in found.skipped_inputs} == {
        "SEGMENT_001.WAV": "differs from another segment in capitals only and is not read; remove one"
    }
    (session / "SEGMENT_001.WAV").unlink()
    assert read_rows(workspace, ingest_into(workspace)) == before


def test_other_files_in_capitals_are_reported(workspace: HablaWorkspace) -> None:
    session = write_session(workspace.recordings, A, 1)
    (session / "ground_truth.json").write_text("{}")
    (session / "ground_truth.json").rename(session / "Ground_Truth.JSON")
    write_wav(session / "NOTA.WAV", make_noise())
    reasons = {each.file: each.reason for each in ingest_into(workspace).skipped_inputs}
    assert reasons == {
        "Ground_Truth.JSON": "has capitals in its name and is not read; rename it to ground_truth.json",
        "NOTA.WAV": "is not named segment_<number>.wav",
    }


def test_a_table_names_a_segment_in_any_capitals(workspace: HablaWorkspace, tmp_path: Path) -> None:
    rename_to_capitals(write_session(workspace.recordings, A, 2), 1)
    rows = [(rf"C:\aula\{A}\Segment_00{number}.wav", f"Frase {number}.") for number in (1, 2)]
    rename_to_capitals(workspace.recordings / A, 2)
    ingest_into(workspace)
    done = import_table_file(workspace, write_audio_csv(tmp_path / "t", rows))
    assert (done.matched, done.clips, done.skipped_inputs) == (2, 0, ())
