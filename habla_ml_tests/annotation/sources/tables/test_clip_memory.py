"""A table that is imported again decodes its new and changed clips only, and remembers nothing that may not be kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from habla_ml.annotation.sources.tables.table_import import TableImport
from habla_ml.lake import catalogue
from habla_ml.lake.table import read_table
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, make_noise, make_workspace, write_wav
from habla_ml_tests.testing.opened_files import record_opened_files
from habla_ml_tests.testing.pending_consents import GIVEN, register
from habla_ml_tests.testing.transcript_tables import SAVED_DAY, import_table_file, read_segments, write_audio_csv


class ImportedTable:
    """A table of numbered clips, and the clips that its last import opened."""

    def __init__(self, workspace: HablaWorkspace, folder: Path) -> None:
        self.workspace, self.folder, self.opened = workspace, folder, list[str]()
        self._saves = 0

    def write_clip(self, number: int, seed: int | None = None, age_s: float = 60) -> None:
        """Write a clip that was changed `age_s` ago."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{number}.wav"
        write_wav(path, make_noise(seed=seed or number))
        modified = path.stat().st_mtime - age_s
        os.utime(path, (modified, modified))

    def save(self, *numbers: int, speaker: str = "Lucía") -> TableImport:
        """Save the table with rows of these clips, and import it."""
        table = write_audio_csv(self.folder, [(f"{number}.wav", f"Frase {number}.") for number in numbers], speaker)
        self._saves += 1
        os.utime(table, (NOW.timestamp() - 86_400 + self._saves,) * 2)
        with record_opened_files(".wav") as opened:
            done = import_table_file(self.workspace, table)
        self.opened = opened
        return done

    def list_remembered(self) -> list[str]:
        """Return the sha256 of the remembered sounds."""
        lake = self.workspace.lake
        [key] = catalogue.TABLES.keys(lake)
        pointer = lake.read_pointer(catalogue.TABLES.name(key))
        assert pointer is not None
        sounds: list[str] = read_table(lake, pointer.value["known_clips"])["audio_sha256"].to_pylist()
        return sounds


@pytest.fixture
def table(workspace: HablaWorkspace, tmp_path: Path) -> ImportedTable:
    made = ImportedTable(workspace, tmp_path / "t")
    for number in range(1, 6):
        made.write_clip(number)
    return made


def test_each_clip_is_opened_once_and_never_again(table: ImportedTable) -> None:
    assert (table.save(1, 2, 3).clips, table.opened) == (3, ["1.wav", "2.wav", "3.wav"])
    assert (table.save(1, 2, 3, 4).clips, table.opened) == (1, ["4.wav"])
    assert (table.save(4, 3, 2, 1).matched, table.opened) == (4, [])
    assert (table.save(1, 2).matched, table.opened) == (2, [])
    # The memory holds the clips of the last import.
    assert (table.save(1, 2, 3).matched, table.opened) == (3, ["3.wav"])
    assert len(read_segments(table.workspace, SAVED_DAY)) == 4


def test_a_changed_clip_is_read_again_even_with_the_size_and_time_of_before(table: ImportedTable) -> None:
    table.save(1, 2)
    clip = table.folder / "1.wav"
    before = clip.stat()
    write_wav(clip, make_noise(seed=9))
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (clip.stat().st_size, clip.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert (table.save(1, 2).clips, table.opened) == (1, ["1.wav"])
    assert len(read_segments(table.workspace, SAVED_DAY)) == 2


def test_a_clip_that_can_still_change_within_its_time_stamp_is_not_remembered(table: ImportedTable) -> None:
    table.write_clip(1, age_s=0)
    table.save(1, 2)
    table.save(1, 2)
    assert table.opened == ["1.wav"]


def test_a_second_row_of_a_clip_does_not_open_it_again(table: ImportedTable) -> None:
    table.save(1, 1, 2)
    assert table.opened == ["1.wav", "2.wav"]


def test_a_remembered_clip_that_the_lake_lost_is_read_again(table: ImportedTable) -> None:
    table.save(1, 2)
    table.workspace.lake.delete_pointer(catalogue.RECORDINGS.name(SAVED_DAY))
    assert (table.save(1, 2).clips, table.opened) == (2, ["1.wav", "2.wav"])
    assert len(read_segments(table.workspace, SAVED_DAY)) == 2


def test_clips_without_consent_are_not_remembered(table: ImportedTable, tmp_path: Path) -> None:
    (tmp_path / "consents.yaml").touch()
    table.workspace = make_workspace(tmp_path, consent={"registry": str(tmp_path / "consents.yaml")})
    register(table.workspace, {"contributor": "c-2", "speakers": [{"label": "Remedios"}]})
    assert (table.save(1, 2, speaker="Remedios").clips, table.list_remembered()) == (0, [])
    register(table.workspace, {"contributor": "c-2", "speakers": [{"label": "Remedios"}], "given": GIVEN})
    assert (table.save(1, 2, speaker="Remedios").clips, len(table.list_remembered())) == (2, 2)
    register(table.workspace, {"contributor": "c-2", "speakers": [{"label": "Remedios"}], "given": GIVEN,
                               "withdrawn": "2026-05-01"})  # fmt: skip
    table.save(1, 2, speaker="Remedios")
    assert (table.opened, table.list_remembered()) == ([], [])
