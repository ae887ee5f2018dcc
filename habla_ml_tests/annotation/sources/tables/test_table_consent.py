"""Tables pass the consent register as recordings do, and withheld rows come in once a consent is given."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from habla_ml.annotation.sources import collect_events
from habla_ml.annotation.sources.tables.table_import import is_table_changed, load_last_import
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.build import build_day
from habla_ml.errors import InputError
from habla_ml.lake import DirectoryStore
from habla_ml.recordings.days import load_day
from habla_ml.recordings.ingest import ingest_day
from habla_ml_tests.testing.byte_search import find_texts_in_lake
from habla_ml_tests.testing.corrected_days import list_outdated_days, list_source_errors
from habla_ml_tests.testing.habla_sessions import (
    DAY,
    NOW,
    A,
    B,
    HablaWorkspace,
    make_noise,
    make_workspace,
    set_age,
    write_session,
    write_wav,
)
from habla_ml_tests.testing.pending_consents import GIVEN, register
from habla_ml_tests.testing.transcript_tables import SAVED_DAY, backdate, read_texts

WAITS = "its contributor has given no consent yet"
UNATTRIBUTED_CLIP_WITHHELD = "has no speaker and no session"


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    """A Habla session, and a table with clips of two speakers and one clip without speaker."""
    (tmp_path / "consents.yaml").touch()
    folder = tmp_path / "t"
    folder.mkdir()
    table = folder / "fine_tune_dataset.csv"
    write_table(table, [("1.wav", "Uno.", "Lucía"), ("2.wav", "Dos.", "Remedios"), ("3.wav", "Tres.", "")])
    for number in (1, 2, 3):
        write_wav(folder / f"{number}.wav", make_noise(seed=number))
    workspace = make_workspace(
        tmp_path,
        consent={"registry": str(tmp_path / "consents.yaml")},
        annotation={"tables": [str(table)]},
    )
    set_age(write_session(workspace.recordings, A, 2, entries={2: {"speaker": "Remedios"}}), 24)
    return workspace


def write_table(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["audio_path", "transcript", "speaker"])
        writer.writerows(rows)
    backdate(path)


def consents(workspace: HablaWorkspace, *entries: Mapping[str, Any]) -> None:
    register(workspace, *entries)


def get_table_path(workspace: HablaWorkspace) -> Path:
    return workspace.settings.annotation.tables[0]


def remedios(**more: str) -> dict[str, Any]:
    return {"contributor": "c-2", "speakers": [{"label": "Remedios"}], **more}


def whole_table(**more: str) -> dict[str, Any]:
    return {"contributor": "c-3", "sessions": ["t-fine_tune_dataset"], **more}


def run_corrections_tick(workspace: HablaWorkspace) -> list[str]:
    """Run a tick of the sensor and its runs; return the days."""
    days = [each.day for each in list_outdated_days(workspace)]
    for day in days:
        collect_events(workspace.lake, day, workspace.settings, NOW)
        build_day(workspace.lake, day, workspace.conventions, workspace.settings)
    return days


def ingest_until_idle(workspace: HablaWorkspace, *entries: Mapping[str, Any]) -> None:
    """Ingest, then run ticks until none requests a day."""
    consents(workspace, *entries)
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    while run_corrections_tick(workspace):
        pass


def read_skip_reasons(workspace: HablaWorkspace) -> dict[str, str]:
    done = load_last_import(get_table_path(workspace), workspace.lake)
    assert done is not None
    return {each.file.partition(":")[0]: each.reason for each in done.skipped_inputs}


def read_all_texts(workspace: HablaWorkspace) -> list[str]:
    return sorted(read_texts(workspace, SAVED_DAY) + read_texts(workspace, DAY))


def test_without_a_register_every_row_comes_in(workspace: HablaWorkspace) -> None:
    bare = make_workspace(workspace.root, annotation={"tables": [str(get_table_path(workspace))]})
    ingest_day(bare.recordings, DAY, bare.lake, bare.settings, NOW)
    while run_corrections_tick(bare):
        pass
    assert read_all_texts(bare) == ["Dos.", "Tres.", "Uno."]
    assert read_skip_reasons(bare) == {}


def test_clips_without_consent_or_speaker_are_withheld_with_their_reason(
    workspace: HablaWorkspace,
) -> None:
    ingest_until_idle(workspace, remedios())
    assert read_all_texts(workspace) == ["Uno."]
    found = read_skip_reasons(workspace)
    assert found["row 2"] == WAITS
    assert UNATTRIBUTED_CLIP_WITHHELD in found["row 3"]
    held = load_day(workspace.lake, SAVED_DAY)
    assert held is not None
    assert held.segments == 1
    store = DirectoryStore(workspace.root / "lake")
    assert find_texts_in_lake(store, ["Dos.", "Tres.", "Remedios"]) == []
    withheld = [make_noise(seed=number).astype("<i2").tobytes() for number in (2, 3)]
    assert not any(
        pcm in value
        for path in (workspace.root / "lake").rglob("*")
        if path.is_file()
        for value in [path.read_bytes()]
        for pcm in withheld
    )


def test_rows_come_in_with_their_consent_and_an_unrelated_change_reads_nothing(
    workspace: HablaWorkspace,
) -> None:
    ingest_until_idle(workspace, remedios())
    consents(workspace, remedios(), {"contributor": "c-9", "given": GIVEN, "sessions": ["otra_*"]})
    assert run_corrections_tick(workspace) == []
    consents(workspace, remedios(given=GIVEN))
    assert run_corrections_tick(workspace) != []
    while run_corrections_tick(workspace):
        pass
    assert read_all_texts(workspace) == ["Dos.", "Uno."]
    assert set(read_skip_reasons(workspace)) == {"row 3"}


def test_a_register_entry_of_the_table_covers_its_clips_without_speaker(workspace: HablaWorkspace) -> None:
    ingest_until_idle(workspace, remedios())
    consents(workspace, remedios(), whole_table())
    assert run_corrections_tick(workspace) != []
    while run_corrections_tick(workspace):
        pass
    assert read_skip_reasons(workspace)["row 3"] == WAITS
    ingest_until_idle(workspace, remedios(), whole_table(given=GIVEN))
    assert read_all_texts(workspace) == ["Tres.", "Uno."]


def test_withheld_rows_come_in_once_there_is_no_register(workspace: HablaWorkspace) -> None:
    ingest_until_idle(workspace, remedios())
    bare = make_workspace(workspace.root, annotation={"tables": [str(get_table_path(workspace))]})
    while run_corrections_tick(bare):
        pass
    assert read_all_texts(bare) == ["Dos.", "Tres.", "Uno."]


def test_a_table_can_name_the_pseudonym_as_speaker(workspace: HablaWorkspace) -> None:
    write_table(get_table_path(workspace), [("1.wav", "Uno.", "c-7"), ("2.wav", "Dos.", "c-8")])
    ingest_until_idle(workspace, {"contributor": "c-7"}, {"contributor": "c-8", "given": GIVEN})
    assert read_all_texts(workspace) == ["Dos."]
    assert read_skip_reasons(workspace) == {"row 1": WAITS}


@pytest.mark.parametrize("speaker", ["", "Speaker A"])
def test_texts_of_habla_segments_wait_whatever_speaker_the_row_names(workspace: HablaWorkspace, speaker: str) -> None:
    rows = [(f"{A}/segment_00{n}.wav", f"Frase {n}.", speaker) for n in (1, 2)]
    write_table(get_table_path(workspace), rows)
    ingest_until_idle(workspace, remedios())
    assert read_all_texts(workspace) == ["Frase 1."]
    assert read_skip_reasons(workspace) == {"row 2": WAITS}
    ingest_until_idle(workspace, remedios(given=GIVEN))
    assert read_all_texts(workspace) == ["Frase 1.", "Frase 2."]


def test_a_copy_of_a_known_clip_waits_for_its_speaker_in_the_lake(workspace: HablaWorkspace) -> None:
    consents(workspace)
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    (get_table_path(workspace).parent / "2.wav").write_bytes(
        (workspace.recordings / A / "segment_002.wav").read_bytes()
    )
    write_table(get_table_path(workspace), [("2.wav", "Dos.", "")])
    ingest_until_idle(workspace, remedios())
    assert read_all_texts(workspace) == []
    assert read_skip_reasons(workspace) == {"row 1": WAITS}


def test_one_row_without_consent_withholds_all_rows_with_the_same_audio(workspace: HablaWorkspace) -> None:
    write_table(get_table_path(workspace), [("2.wav", "Dos.", "Lucía"), ("2.wav", "Dos otra vez.", "Remedios")])
    ingest_until_idle(workspace, remedios())
    assert read_all_texts(workspace) == []
    assert set(read_skip_reasons(workspace)) == {"row 1", "row 2"}


def test_a_clip_of_a_withheld_session_waits_where_its_speaker_is_unknown(workspace: HablaWorkspace) -> None:
    folder = get_table_path(workspace).parent
    set_age(write_session(workspace.recordings, B, 2, entries={2: {"speaker": "Remedios"}}), 24)
    ingest_until_idle(workspace, remedios())
    write_session(folder, B, 2)
    (folder / B / "metadata.json").unlink()
    for path in (workspace.recordings / B).iterdir():
        path.unlink()
    (workspace.recordings / B).rmdir()
    write_table(get_table_path(workspace), [(f"{B}/segment_002.wav", "Dos.", "")])
    ingest_until_idle(workspace, remedios())
    assert read_all_texts(workspace) == ["Uno."]
    assert "its speaker is unknown" in read_skip_reasons(workspace)["row 1"]
    ingest_until_idle(workspace, remedios(given=GIVEN))
    assert read_all_texts(workspace) == ["Dos.", "Uno."]


def test_a_withdrawn_speaker_stays_out_permanently(workspace: HablaWorkspace) -> None:
    ingest_until_idle(workspace, remedios(given=GIVEN, withdrawn="2026-05-01"))
    assert read_skip_reasons(workspace)["row 2"] == "the consent of its contributor was withdrawn on 2026-05-01"
    assert len(read_tombstones(workspace.lake).sounds) == 2
    ingest_until_idle(workspace, remedios(given=GIVEN))
    get_table_path(workspace).touch()
    assert is_table_changed(get_table_path(workspace), workspace.lake)
    while run_corrections_tick(workspace):
        pass
    assert read_all_texts(workspace) == ["Uno."]
    assert "was erased" in read_skip_reasons(workspace)["row 2"]


def test_an_unreadable_register_is_not_reported_as_a_fault_of_the_table(workspace: HablaWorkspace) -> None:
    ingest_until_idle(workspace, remedios())
    path = workspace.settings.consent.registry
    assert path is not None
    write_table(get_table_path(workspace), [("1.wav", "Uno, dos.", "Lucía")])
    get_table_path(workspace).touch()
    path.write_text("contributors: [")
    for _ in range(2):
        assert run_corrections_tick(workspace) == []
        assert "consent register" in list_source_errors(workspace)[f"table {get_table_path(workspace)}"]
        with pytest.raises(InputError, match="cannot be read"):
            collect_events(workspace.lake, DAY, workspace.settings, NOW)
    ingest_until_idle(workspace, remedios())
    assert "Uno, dos." in read_all_texts(workspace)
