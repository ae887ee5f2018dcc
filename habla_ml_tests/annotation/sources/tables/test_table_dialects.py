"""Tables as spreadsheets and editors save them, from the file to the event."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.errors import InputError
from habla_ml_tests.testing.habla_sessions import DAY, A, HablaWorkspace, make_noise, write_session, write_wav
from habla_ml_tests.testing.transcript_tables import SAVED_DAY, backdate, import_table_file, read_texts


@pytest.mark.parametrize(
    ("name", "separator", "encoding", "end"),
    [
        ("fine_tune_dataset.csv", ";", "cp1252", "\r\n"),
        ("Fine_Tune_Dataset.CSV", ";", "utf-8-sig", "\r\n"),
        ("fine_tune_dataset.TSV", "\t", "utf-16", "\r"),
    ],
)
def test_a_table_of_a_spreadsheet_on_windows_is_imported(
    workspace: HablaWorkspace, tmp_path: Path, name: str, separator: str, encoding: str, end: str
) -> None:
    folder = tmp_path / "t"
    (folder / "clips").mkdir(parents=True)
    write_wav(folder / "clips" / "Niño.WAV", make_noise())
    cells = [["Audio_Path", "Transcript", "SPEAKER"], [r"C:\Users\ana\t\clips\niño.wav", "¿Qué? Sí.", "Lucía"]]
    (folder / name).write_bytes(end.join(map(separator.join, cells)).encode(encoding))
    backdate(folder / name)
    done = import_table_file(workspace, folder)
    assert (done.clips, read_texts(workspace, SAVED_DAY)) == (1, ["¿Qué? Sí."])
    assert [each.reason.partition(";")[0] for each in done.skipped_inputs] == (
        ["was read as Windows-1252, which is a guess"] if encoding == "cp1252" else []
    )


def test_two_tables_that_differ_in_capitals_only_are_refused(workspace: HablaWorkspace, tmp_path: Path) -> None:
    for name in ("fine_tune_dataset.csv", "fine_tune_dataset.CSV"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"differ in capitals only; remove one"):
        import_table_file(workspace, tmp_path)


def test_a_badly_quoted_row_is_skipped_and_the_rest_of_the_table_imported(
    workspace: HablaWorkspace, tmp_path: Path
) -> None:
    write_session(workspace.recordings, A, 3)
    path = tmp_path / "t.csv"
    lines = [f'{A}/segment_001.wav,"Uno."', f'{A}/segment_002.wav,"Dos.', f'{A}/segment_003.wav,"Tres."']
    path.write_text("\n".join(["audio_path,transcript", *lines]))
    done = import_table_file(workspace, backdate(path))
    assert read_texts(workspace, DAY) == ["Tres.", "Uno."]
    [problem] = done.skipped_inputs
    assert (problem.file, problem.reason.partition(";")[0]) == ("row 2", "is badly quoted (line 3 of the file)")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_a_json_table_is_read_in_other_encodings_and_capitals(
    workspace: HablaWorkspace, tmp_path: Path, encoding: str
) -> None:
    write_session(workspace.recordings, A, 2)
    path = tmp_path / "Tabla.Json"
    entry = '{"Audio": "%s/segment_00%d.wav", "TEXT": "Mañana."%s}'
    entries = [entry % (A, 1, ""), entry % (A, 2, ', "text": "dos"'), "3"]
    path.write_bytes(f"[{', '.join(entries)}]".encode(encoding))
    done = import_table_file(workspace, backdate(path))
    assert read_texts(workspace, DAY) == ["Mañana."]
    assert [(each.file, each.reason) for each in done.skipped_inputs] == [
        ("row 2", "has a key twice; remove one"),
        ("row 3", "is int, expected an object"),
    ]


def test_a_json_bomb_is_refused_by_its_number_of_values(workspace: HablaWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("[" + "{}," * 1_100_000 + "{}]")
    with pytest.raises(InputError, match="JSON values, more than the"):
        import_table_file(workspace, backdate(path))


def test_the_list_of_skipped_rows_is_bounded_and_starts_with_remarks(workspace: HablaWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = ["audio_path;transcript;extra", "año.wav;Uno;x", *["no.wav;;"] * 1_200]
    path.write_bytes("\n".join(lines).encode("cp1252"))
    reasons = [each.reason for each in import_table_file(workspace, backdate(path)).skipped_inputs]
    assert len(reasons) == 1_001
    assert "has 203 more rows that were left out" in reasons
    assert any("Windows-1252" in each for each in reasons)
    assert any("unknown column 'extra'" in each for each in reasons)
