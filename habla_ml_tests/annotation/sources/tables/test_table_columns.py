"""The optional columns of a table: status, reason, person, time, model version; invalid values by row."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from habla_ml.recordings.ingest import ingest_day
from habla_ml_tests.testing.habla_sessions import DAY, NOW, A, HablaWorkspace, make_noise, write_session, write_wav
from habla_ml_tests.testing.transcript_tables import (
    SAVED_DAY,
    backdate,
    import_table_file,
    read_logged_events,
    read_segments,
    write_json_table,
    write_transcript_csv,
)


def test_one_table_gives_events_of_two_people_with_every_status_and_their_times(
    workspace: HablaWorkspace, tmp_path: Path
) -> None:
    write_session(workspace.recordings, A, 2)
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    one, two = f"{A}/segment_001.wav", f"{A}/segment_002.wav"
    rows = [
        {"audio_path": one, "transcript": "Uno.", "person": "Ana", "annotated_at": "2026-03-01T10:00:00"},
        {"audio_path": one, "status": "unusable", "reason": "ruido", "person": "Eva", "model_version": "v2"},
        {"audio_path": two, "transcript": "Dos.", "status": "confirmed", "annotated_at": "2026-03-01T10:00:00Z"},
    ]
    done = import_table_file(workspace, write_transcript_csv(tmp_path / "t", rows))
    assert (done.matched, done.added, done.skipped_inputs) == (3, 3, ())
    confirmed, ana, eva = read_logged_events(workspace)
    assert (ana.text, ana.status, ana.reason, ana.model_version) == ("Uno.", "corrected", "", "")
    assert ana.created_at == datetime(2026, 3, 1, 9, 0, tzinfo=UTC)  # Madrid is one hour ahead of UTC in winter
    assert (eva.text, eva.status, eva.reason, eva.model_version) == ("", "unusable", "ruido", "v2")
    assert eva.created_at == NOW - timedelta(days=1)
    assert (confirmed.person, confirmed.status) == ("", "confirmed")
    assert confirmed.created_at == datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def test_a_json_table_has_the_same_columns(workspace: HablaWorkspace, tmp_path: Path) -> None:
    write_session(workspace.recordings, A, 1)
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    entry = {
        "audio": f"{A}/segment_001.wav",
        "text": "",
        "status": "unusable",
        "reason": "solapado",
        "person": "Eva",
    }
    assert import_table_file(workspace, write_json_table(tmp_path / "t", [entry])).skipped_inputs == ()
    [event] = read_logged_events(workspace)
    assert (event.status, event.reason, event.person) == ("unusable", "solapado", "Eva")


def test_two_people_on_a_new_clip_give_two_events_of_one_segment(workspace: HablaWorkspace, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    rows = [
        {"audio_path": "1.wav", "transcript": "Uno.", "person": "Ana"},
        {"audio_path": "1.wav", "transcript": "Una.", "person": "Eva"},
        {"audio_path": "1.wav", "transcript": "Nada.", "person": "Eva"},
    ]
    table = write_transcript_csv(folder, rows)
    write_wav(folder / "1.wav", make_noise(seed=1))
    done = import_table_file(workspace, table)
    assert (done.clips, done.added) == (1, 2)
    assert [(each.file, "same audio as row 2" in each.reason) for each in done.skipped_inputs] == [
        ("row 3: 1.wav", True)
    ]
    assert len(read_segments(workspace, SAVED_DAY)) == 1
    assert [event.text for event in read_logged_events(workspace, SAVED_DAY)] == ["Uno.", "Una."]
    assert len({event.segment_id for event in read_logged_events(workspace, SAVED_DAY)}) == 1


def test_rows_with_invalid_values_are_skipped_by_number_and_the_others_imported(
    workspace: HablaWorkspace, tmp_path: Path
) -> None:
    write_session(workspace.recordings, A, 9)
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    wrong = [
        ({"status": "korrigiert"}, "has a status that is none of corrected, confirmed, unusable"),
        ({"annotated_at": "gestern"}, "has no time like 2026-02-16T14:30:22 as annotated_at"),
        ({"annotated_at": "0001-01-01T00:00:00"}, "in the year 1"),
        ({"annotated_at": "2026-12-24T00:00:00"}, "in the future"),
        ({"reason": "ruido"}, "has a reason but is corrected"),
        ({"transcript": "", "status": "confirmed"}, "has no transcript"),
    ]
    rows = [
        {"audio_path": f"{A}/segment_00{number}.wav", "transcript": "Hola.", **changes}
        for number, (changes, _) in enumerate([*wrong, ({}, "")], start=1)
    ]
    done = import_table_file(workspace, write_transcript_csv(tmp_path / "t", rows))
    assert done.added == 1
    found = {each.file.split(":")[0]: each.reason for each in done.skipped_inputs}
    for number, (_, reason) in enumerate(wrong, start=1):
        assert reason in found.pop(f"row {number}")
    assert found == {}


def test_an_unknown_column_is_reported_once_and_its_rows_are_imported(
    workspace: HablaWorkspace, tmp_path: Path
) -> None:
    write_session(workspace.recordings, A, 2)
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    rows = [{"audio_path": f"{A}/segment_00{n}.wav", "transcript": "Hola.", "colour": "red"} for n in (1, 2)]
    done = import_table_file(workspace, write_transcript_csv(tmp_path / "t", rows, ["colour"]))
    assert done.added == 2
    [remark] = done.skipped_inputs
    assert remark.file == "row 1"
    assert "unknown column 'colour', which is ignored" in remark.reason


def test_a_row_with_an_unquoted_comma_is_refused(workspace: HablaWorkspace, tmp_path: Path) -> None:
    write_session(workspace.recordings, A, 1)
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    path = tmp_path / "t.csv"
    path.write_text(f"audio_path,transcript\n{A}/segment_001.wav,Hola, niños\n")
    done = import_table_file(workspace, backdate(path))
    assert (done.added, "more cells than the header" in done.skipped_inputs[0].reason) == (0, True)


def test_a_saved_table_without_changes_adds_nothing_and_one_changed_row_adds_one_event(
    workspace: HablaWorkspace, tmp_path: Path
) -> None:
    write_session(workspace.recordings, A, 2)
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    rows = [
        {"audio_path": f"{A}/segment_00{n}.wav", "transcript": f"{n}", "person": person}
        for n in (1, 2)
        for person in ("Ana", "Eva")
    ]
    assert import_table_file(workspace, write_transcript_csv(tmp_path / "t", rows)).added == 4
    for hours in (3, 2, 1):
        table = write_transcript_csv(tmp_path / "t", rows[::-1])
        os.utime(table, (NOW.timestamp() - 3600 * hours,) * 2)
        assert import_table_file(workspace, table).added == 0
    changed = write_transcript_csv(tmp_path / "t", [*rows[:3], {**rows[3], "status": "unusable", "transcript": ""}])
    os.utime(changed, (NOW.timestamp(), NOW.timestamp()))
    assert import_table_file(workspace, changed).added == 1
