"""Tables: rows matched by name or audio, new clips, and refused tables and rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from habla_ml.annotation.event_log import load_events, read_events
from habla_ml.annotation.sources import collect_events
from habla_ml.annotation.sources.tables.table_import import import_table, is_table_changed, load_last_import
from habla_ml.corpus.build import build_day
from habla_ml.errors import InputError
from habla_ml.recordings.ingest import ingest_day
from habla_ml_tests.testing.corrected_days import list_outdated_days
from habla_ml_tests.testing.general_speech_sources import make_common_voice_row, write_common_voice
from habla_ml_tests.testing.habla_sessions import (
    DAY,
    NOW,
    A,
    HablaWorkspace,
    make_noise,
    make_workspace,
    write_corrections,
    write_session,
    write_wav,
)
from habla_ml_tests.testing.transcript_tables import (
    SAVED_DAY,
    backdate,
    import_table_file,
    read_segments,
    read_texts,
    write_audio_csv,
    write_json_table,
)


def test_rows_with_session_and_segment_names_annotate_habla_segments(workspace: HablaWorkspace, tmp_path: Path) -> None:
    write_session(workspace.recordings, A, 2)
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    table = write_audio_csv(tmp_path / "t", [(f"/elsewhere/recordings/{A}/segment_002.wav", "Hola, niños.")])
    done = import_table_file(workspace, table)
    assert (done.matched, done.clips, done.added, done.days, done.skipped_inputs) == (1, 0, 1, (DAY,), ())
    log = load_events(workspace.lake, DAY)
    assert log is not None
    [event] = read_events(workspace.lake, log)
    assert event.segment_id == read_segments(workspace, DAY)[1]["segment_id"]
    assert (event.source, event.status) == ("table:t-fine_tune_dataset", "corrected")


def test_rows_of_a_session_that_is_not_ingested_yet_are_matched(workspace: HablaWorkspace, tmp_path: Path) -> None:
    write_session(workspace.recordings, A, 1)
    import_table_file(workspace, write_audio_csv(tmp_path / "t", [(f"{A}/segment_001.wav", "Hola.")]))
    assert read_texts(workspace, DAY) == ["Hola."]


def test_a_folder_whose_name_is_not_utf_8_is_imported_once(workspace: HablaWorkspace, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode("niños".encode("latin-1"))
    folder.mkdir()
    write_wav(folder / "uno.wav", make_noise(1.0))
    table = write_audio_csv(folder, [("uno.wav", "Uno."), ("dos.wav", "Dos.")])
    done = import_table_file(workspace, folder)
    name = r"ni\udcf1os-fine_tune_dataset"
    assert (done.name, done.clips, done.added, [each.session for each in done.skipped_inputs]) == (name, 1, 1, [name])
    assert import_table_file(workspace, table).added == 0
    assert not is_table_changed(folder, workspace.lake)
    assert [row["session_id"] for row in read_segments(workspace, SAVED_DAY)] == [f"{name}-Lucía"]


def test_a_clip_with_another_name_is_matched_by_its_audio(workspace: HablaWorkspace, tmp_path: Path) -> None:
    session = write_session(workspace.recordings, A, 2)
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    table = write_audio_csv(tmp_path / "t", [("clips/uno.wav", "Uno.")])
    (tmp_path / "t" / "clips").mkdir()
    (tmp_path / "t" / "clips" / "uno.wav").write_bytes((session / "segment_001.wav").read_bytes())
    done = import_table_file(workspace, table)
    assert (done.matched, done.clips, done.days) == (1, 0, (DAY,))


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_new_clips_become_recordings_of_the_table_by_speaker(
    workspace: HablaWorkspace, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "t"
    (folder / "clips").mkdir(parents=True)
    for number in (1, 2):
        write_wav(folder / "clips" / f"{number}.wav", make_noise(seed=number))
    if kind == "csv":
        table = write_audio_csv(folder, [("clips/1.wav", "Uno."), ("clips/2.wav", "Dos.")])
    else:
        table = write_json_table(
            folder,
            [
                {"audio": f"clips/{n}.wav", "text": t, "duration": 1, "speaker": "Lucía"}
                for n, t in [(1, "Uno."), (2, "Dos.")]
            ],
        )
    done = import_table_file(workspace, table)
    assert (done.matched, done.clips, done.added, done.days) == (0, 2, 2, (SAVED_DAY,))
    found = read_segments(workspace, SAVED_DAY)
    assert [row["source"] for row in found] == ["table", "table"]
    assert {row["session_id"] for row in found} == {"t-fine_tune_dataset-Lucía"}
    assert [row["file_name"] for row in found] == ["clips/1.wav", "clips/2.wav"]
    assert read_texts(workspace, SAVED_DAY) == ["Dos.", "Uno."]


def test_a_clip_in_a_folder_named_like_a_session_is_filed_under_that_session_and_day(
    workspace: HablaWorkspace, tmp_path: Path
) -> None:
    folder = tmp_path / "t"
    write_session(folder, A, 1)
    done = import_table_file(workspace, write_audio_csv(folder, [(f"{A}/segment_001.wav", "Uno.")]))
    assert (done.clips, done.days) == (1, (DAY,))
    assert read_segments(workspace, DAY)[0]["session_id"] == A


@pytest.mark.parametrize(
    ("session", "reason"),
    [
        ("1_20990101_120000", "is dated 2099-01-01, after today"),
        ("1_19700101_000010", "is dated 1970-01-01: the recorder's clock was reset"),
        ("1_20200101_120000", "is dated 2020-01-01, before recordings.first_day"),
    ],
)
@pytest.mark.parametrize("place", ["table", "habla"])
def test_rows_of_a_session_with_a_wrong_date_are_left_out_with_the_reason(
    workspace: HablaWorkspace, tmp_path: Path, session: str, reason: str, place: str
) -> None:
    folder = tmp_path / "t"
    write_session(folder, A, 1)
    write_session(folder if place == "table" else workspace.recordings, session, 1)
    rows = [(f"{session}/segment_001.wav", "Dos."), (f"{A}/segment_001.wav", "Uno.")]
    done = import_table_file(workspace, write_audio_csv(folder, rows))
    assert (done.days, read_texts(workspace, DAY)) == ((DAY,), ["Uno."])
    (skipped,) = done.skipped_inputs
    assert skipped.file.startswith("row 1")
    assert reason in skipped.reason


def test_an_import_is_done_once_and_again_when_the_table_changes(workspace: HablaWorkspace, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    for number in (1, 2):
        write_wav(folder / f"{number}.wav", make_noise(seed=number))
    table = write_audio_csv(folder, [("1.wav", "Uno.")])
    assert is_table_changed(table, workspace.lake)
    first = import_table_file(workspace, table)
    assert not is_table_changed(table, workspace.lake)
    assert import_table_file(workspace, table).added == 0
    write_audio_csv(folder, [("2.wav", "Dos."), ("1.wav", "Uno.")])
    os.utime(table, (NOW.timestamp(), NOW.timestamp()))
    second = import_table_file(workspace, table)
    assert (second.clips, second.matched, second.added) == (1, 1, 1)
    assert second.days == (SAVED_DAY, "2026-11-20")
    assert len(read_segments(workspace, SAVED_DAY)) == first.clips == 1


def test_an_interrupted_import_is_run_again(workspace: HablaWorkspace, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    write_wav(folder / "1.wav", make_noise(seed=1))
    table = write_audio_csv(folder, [("1.wav", "Uno.")])
    import_table_file(workspace, table)
    [pointer] = (workspace.root / "lake" / "pointers" / "tables").glob("*.json")
    pointer.unlink()
    again = import_table_file(workspace, table)
    assert (again.added, again.matched) == (0, 1)
    assert len(read_segments(workspace, SAVED_DAY)) == 1
    assert read_texts(workspace, SAVED_DAY) == ["Uno."]


def test_invalid_rows_are_skipped_with_number_and_reason_and_valid_ones_imported(
    workspace: HablaWorkspace, tmp_path: Path
) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    write_wav(folder / "1.wav", make_noise(seed=1))
    write_wav(folder / "copia.wav", make_noise(seed=1))
    write_wav(tmp_path / "outside.wav", make_noise(seed=2))
    (folder / "link.wav").symlink_to(tmp_path / "outside.wav")
    (folder / "text.wav").write_text("hola")
    rows = [
        ("1.wav", "Uno."),
        ("../outside.wav", "a"),
        (str(tmp_path / "outside.wav"), "b"),
        ("link.wav", "c"),
        ("text.wav", "d"),
        ("missing.wav", "e"),
        ("1.wav", ""),
        ("", "f"),
        ("copia.wav", "g"),
        ("a\x00b.wav", "h"),
        (".", "i"),
    ]
    done = import_table_file(workspace, write_audio_csv(folder, rows))
    assert done.clips == 1
    assert read_texts(workspace, SAVED_DAY) == ["Uno."]
    found = {each.file.split(":")[0]: each.reason for each in done.skipped_inputs}
    for row, reason in {
        "row 2": "leaves",
        "row 3": "leaves",
        "row 4": "leaves",
        "row 5": "no audio of a known kind",
        "row 6": "does not exist",
        "row 7": "no transcript",
        "row 8": "no audio_path",
        "row 9": "same audio as row 1",
        "row 10": "NUL character",
        "row 11": "folder",
    }.items():
        assert reason in found.pop(row)
    assert found == {}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", "path,text\na,b\n", "lacks the column audio_path; found path, text"),
        ("t.csv", "a.wav,Buenos días\nb.wav,Hola.\n", "first line has 2 cells that are no column names"),
        ("t.csv", "", "lacks the column"),
        ("t.csv", b"audio_path,transcript\n\x9d,x\n", "neither UTF-8 nor Windows-1252: byte 22 .* is 0x9d; .* save it"),
        ("t.csv", "audio_path,transcript,Transcript\na,b,c\n", "has the column transcript 2 times"),
        ("t.json", "{", "is not JSON"),
        ("t.json", "{}", "holds dict, expected a list"),
        ("t.txt", "", "no table"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_by_name(
    workspace: HablaWorkspace, tmp_path: Path, name: str, content: str | bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=reason) as caught:
        import_table_file(workspace, path)
    assert name in str(caught.value)


def test_json_rows_of_wrong_types_are_skipped(workspace: HablaWorkspace, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    write_wav(folder / "1.wav", make_noise(seed=1))
    table = write_json_table(
        folder, [3, {"audio": 5, "text": "x"}, {"audio": "1.wav"}, {"audio": "1.wav", "text": "Uno."}]
    )
    done = import_table_file(workspace, table)
    assert [each.file for each in done.skipped_inputs] == ["row 1", "row 2", "row 3"]
    assert read_texts(workspace, SAVED_DAY) == ["Uno."]


def test_a_byte_order_mark_is_not_part_of_the_first_column_name(workspace: HablaWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_wav(tmp_path / "1.wav", make_noise())
    path.write_text("\ufeffaudio_path,transcript\n1.wav,Uno.\n", "utf-8")
    assert import_table_file(workspace, backdate(path)).clips == 1


def test_collecting_a_day_imports_the_changed_tables(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    write_wav(folder / "1.wav", make_noise())
    table = write_audio_csv(folder, [("1.wav", "Uno.")])
    workspace = make_workspace(tmp_path, annotation={"tables": [str(table)]})
    gathered = collect_events(workspace.lake, DAY, workspace.settings, NOW)
    assert (gathered.events, read_texts(workspace, SAVED_DAY)) == (0, ["Uno."])
    assert not is_table_changed(table, workspace.lake)


def test_a_table_is_read_in_a_lake_without_recordings(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    write_wav(folder / "1.wav", make_noise())
    table = write_audio_csv(folder, [("1.wav", "Uno.")])
    workspace = make_workspace(tmp_path, annotation={"tables": [str(table)]})
    assert [each.day for each in list_outdated_days(workspace)] == [SAVED_DAY]
    collect_events(workspace.lake, SAVED_DAY, workspace.settings, NOW)
    built = build_day(workspace.lake, SAVED_DAY, workspace.conventions, workspace.settings)
    assert (built.counts["segments"], built.counts["usable"]) == (1, 1)
    assert list_outdated_days(workspace) == []


def test_the_documented_script_makes_a_corpus_of_a_common_voice_folder(tmp_path: Path) -> None:
    rows = [make_common_voice_row(number) for number in range(4)]
    rows[0]["sentence"] = 'Dijo "hola, niños" y se fue.'
    folder = tmp_path / "cv-corpus-22.0-2025-06-20" / "es"
    write_common_voice(folder, rows)
    page = (Path(__file__).parents[4] / "docs" / "general_speech.md").read_text("utf-8")
    script = page.partition("```python\n")[2].partition("```")[0]
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    backdate(folder / "fine_tune_dataset.csv")
    workspace = make_workspace(tmp_path, annotation={"tables": [str(folder)]})
    done = import_table_file(workspace, folder)
    assert (done.clips, done.skipped_inputs) == (4, ())
    assert read_texts(workspace, SAVED_DAY) == [each["sentence"] for each in rows]
    assert len({row["session_id"] for row in read_segments(workspace, SAVED_DAY)}) == 2, "one for each speaker"


def test_a_table_without_a_usable_row_gives_an_empty_day_that_is_built_once(tmp_path: Path) -> None:
    table = tmp_path / "validated.tsv"
    table.write_text("path\tsentence\n1.mp3\tUno.\n", "utf-8")
    workspace = make_workspace(tmp_path, annotation={"tables": [str(backdate(table))]})
    assert [each.day for each in list_outdated_days(workspace)] == [SAVED_DAY]
    collect_events(workspace.lake, SAVED_DAY, workspace.settings, NOW)
    assert build_day(workspace.lake, SAVED_DAY, workspace.conventions, workspace.settings).counts["segments"] == 0
    assert list_outdated_days(workspace) == []
    last = load_last_import(table, workspace.lake)
    assert last is not None
    assert "audio_path" in last.skipped_inputs[0].reason


def test_an_unreadable_table_stops_no_correction_and_is_reported_until_it_is_corrected(
    tmp_path: Path,
) -> None:
    table = tmp_path / "fine_tune_dataset.csv"
    table.write_text("nonsense\n")
    backdate(table)
    workspace = make_workspace(tmp_path, annotation={"tables": [str(table)]})
    write_corrections(write_session(workspace.recordings, A, 2), {1: "uno"})
    gathered = collect_events(workspace.lake, DAY, workspace.settings, NOW)
    assert (gathered.added, read_texts(workspace, DAY)) == (1, ["uno"])
    found = load_last_import(table, workspace.lake)
    assert found is not None
    [problem] = found.skipped_inputs
    assert "lacks the column audio_path" in problem.reason
    assert not is_table_changed(table, workspace.lake)  # a sensor requests it again only after a change
    table.write_text(f"audio_path,transcript\n{A}/segment_002.wav,dos\n")
    collect_events(workspace.lake, DAY, workspace.settings, NOW)
    found = load_last_import(table, workspace.lake)
    assert found is not None
    assert (found.skipped_inputs, found.matched, read_texts(workspace, DAY)) == ((), 1, ["dos", "uno"])


def test_a_table_that_a_program_saves_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "fine_tune_dataset.csv"
    table.write_text("audio_pa")  # the first part of a copy over the network
    workspace = make_workspace(tmp_path, annotation={"tables": [str(table)]})
    write_session(workspace.recordings, A, 1)

    def read_and_save(*arguments: Any) -> Any:
        try:
            return import_table(*arguments)
        finally:
            table.write_text(f"audio_path,transcript\n{A}/segment_001.wav,Hola.\n")

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["habla_ml.annotation.sources.tables.source"], "import_table", read_and_save)
        collect_events(workspace.lake, DAY, workspace.settings, NOW)
    assert read_texts(workspace, DAY) == []
    collect_events(workspace.lake, DAY, workspace.settings, NOW)
    assert read_texts(workspace, DAY) == ["Hola."]


def test_a_table_whose_rights_were_corrected_is_read(tmp_path: Path) -> None:
    table = tmp_path / "fine_tune_dataset.csv"
    table.write_text(f"audio_path,transcript\n{A}/segment_001.wav,Hola.\n")
    workspace = make_workspace(tmp_path, annotation={"tables": [str(table)]})
    import_table_file(workspace, table)
    assert not is_table_changed(table, workspace.lake)
    table.chmod(0o600)  # what a user without rights could not read before; root reads everything
    assert is_table_changed(table, workspace.lake)
