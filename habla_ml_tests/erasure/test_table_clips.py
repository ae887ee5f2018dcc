"""Erasing a speaker of a table removes their clips from what the lake remembers of the table."""

from __future__ import annotations

import os
from pathlib import Path

from habla_ml.erasure.erase import erase, plan_erasure
from habla_ml.lake import catalogue
from habla_ml.lake.table import read_table
from habla_ml_tests.testing.full_lake import load_contributor, write_register
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, make_noise, make_workspace, write_wav
from habla_ml_tests.testing.opened_files import record_opened_files
from habla_ml_tests.testing.transcript_tables import import_table_file, read_segments

DAY_OF_NOW = "2026-11-20"


def save_table(workspace: HablaWorkspace, folder: Path, age_s: float) -> None:
    table = folder / "fine_tune_dataset.csv"
    table.write_text("audio_path,transcript,speaker\n1.wav,Uno.,Ana\n2.wav,Dos.,Remedios\n")
    os.utime(table, (NOW.timestamp() - age_s,) * 2)
    import_table_file(workspace, table)


def get_memory_id(workspace: HablaWorkspace) -> str:
    [key] = catalogue.TABLES.keys(workspace.lake)
    pointer = workspace.lake.read_pointer(catalogue.TABLES.name(key))
    assert pointer is not None
    return str(pointer.value["known_clips"])


def list_remembered(workspace: HablaWorkspace) -> list[str]:
    sounds: list[str] = read_table(workspace.lake, get_memory_id(workspace))["audio_sha256"].to_pylist()
    return sounds


def test_an_erased_clip_is_forgotten_and_never_comes_back(tmp_path: Path) -> None:
    (tmp_path / "consents.yaml").touch()
    workspace = make_workspace(tmp_path, consent={"registry": str(tmp_path / "consents.yaml")})
    folder = tmp_path / "t"
    folder.mkdir()
    for number in (1, 2):
        write_wav(folder / f"{number}.wav", make_noise(seed=number))
        os.utime(folder / f"{number}.wav", (NOW.timestamp() - 86_400,) * 2)
    save_table(workspace, folder, 3600)
    sounds = {row["speaker"]: row["audio_sha256"] for row in read_segments(workspace, DAY_OF_NOW)}
    assert sorted(list_remembered(workspace)) == sorted(map(str, sounds.values()))
    stored = get_memory_id(workspace)
    entry = {"contributor": "c-1", "given": "2026-01-01", "withdrawn": "2026-05-01"}
    write_register(workspace, {**entry, "speakers": [{"label": "Remedios"}]})
    plan = plan_erasure(workspace.lake, load_contributor(workspace), workspace.settings, NOW)
    erase(workspace.lake, plan, workspace.settings, NOW)
    assert list_remembered(workspace) == [sounds["Ana"]]
    assert stored not in workspace.lake.list_object_ids()
    with record_opened_files(".wav") as opened:
        save_table(workspace, folder, 60)
    assert opened == ["2.wav"]
    assert list_remembered(workspace) == [sounds["Ana"]]
