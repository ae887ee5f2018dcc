"""Tables pass the register of consents like recordings do, and rows that wait come in by themselves."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from habla_ml.annotation import collect_events, last_import, table_changed
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.build import build_day
from habla_ml.corpus.changes import changed_corrections
from habla_ml.errors import InputError
from habla_ml.lake import DirectoryStore
from habla_ml.recordings import ingest_day, load_day
from habla_ml_tests.annotation.written_tables import SAVED, save, texts
from habla_ml_tests.consent.everywhere import found_in_lake
from habla_ml_tests.recordings.test_late_consent import GIVEN, register
from habla_ml_tests.recordings.world import (
    DAY,
    NOW,
    A,
    B,
    World,
    age,
    make_world,
    speech,
    write_session,
    write_wav,
)

WAITS = "its contributor has given no consent yet"
NAMELESS = "says neither whose voice it is"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A session of Habla's in the lake, and a table with clips of two voices and of one that nobody names."""
    (tmp_path / "consents.yaml").touch()
    folder = tmp_path / "t"
    folder.mkdir()
    table = folder / "fine_tune_dataset.csv"
    write_table(table, [("1.wav", "Uno.", "Lucía"), ("2.wav", "Dos.", "Remedios"), ("3.wav", "Tres.", "")])
    for number in (1, 2, 3):
        write_wav(folder / f"{number}.wav", speech(seed=number))
    world = make_world(
        tmp_path,
        consent={"registry": str(tmp_path / "consents.yaml")},
        annotation={"tables": [str(table)]},
    )
    age(write_session(world.recordings, A, 2, entries={2: {"speaker": "Remedios"}}), 24)
    return world


def write_table(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["audio_path", "transcript", "speaker"])
        writer.writerows(rows)
    save(path)


def consents(world: World, *entries: Mapping[str, Any]) -> None:
    register(world, *entries)


def table_of(world: World) -> Path:
    return world.settings.annotation.tables[0]


def remedios(**more: str) -> dict[str, Any]:
    return {"contributor": "c-2", "speakers": [{"label": "Remedios"}], **more}


def whole_table(**more: str) -> dict[str, Any]:
    return {"contributor": "c-3", "sessions": ["t-fine_tune_dataset"], **more}


def ticked(world: World) -> list[str]:
    """A tick of the sensor of corrections and its runs; returns the days."""
    asked = [each.day for each in changed_corrections(world.recordings, world.lake, world.settings, NOW)]
    for day in asked:
        collect_events(world.recordings, day, world.lake, world.settings, NOW)
        build_day(world.lake, day, world.conventions, world.settings)
    return asked


def bring_in(world: World, *entries: Mapping[str, Any]) -> None:
    """Ingest, and ticks until there is nothing to do."""
    consents(world, *entries)
    ingest_day(world.recordings, DAY, world.lake, world.settings, NOW)
    while ticked(world):
        pass


def aside(world: World) -> dict[str, str]:
    done = last_import(table_of(world), world.lake)
    assert done is not None
    return {each.file.partition(":")[0]: each.reason for each in done.set_aside}


def everything_said(world: World) -> list[str]:
    return sorted(texts(world, SAVED) + texts(world, DAY))


def test_without_a_register_everybody_has_agreed(world: World) -> None:
    bare = make_world(world.root, annotation={"tables": [str(table_of(world))]})
    ingest_day(bare.recordings, DAY, bare.lake, bare.settings, NOW)
    while ticked(bare):
        pass
    assert everything_said(bare) == ["Dos.", "Tres.", "Uno."]
    assert aside(bare) == {}


def test_a_voice_without_consent_and_one_that_nobody_names_stay_out_and_are_said_so(world: World) -> None:
    bring_in(world, remedios())
    assert everything_said(world) == ["Uno."]
    found = aside(world)
    assert found["row 2"] == WAITS
    assert NAMELESS in found["row 3"]
    held = load_day(world.lake, SAVED)
    assert held is not None
    assert held.segments == 1
    store = DirectoryStore(world.root / "lake")
    assert found_in_lake(store, ["Dos.", "Tres.", "Remedios"]) == []
    heard = [speech(seed=number).astype("<i2").tobytes() for number in (2, 3)]
    assert not any(
        pcm in value
        for path in (world.root / "lake").rglob("*")
        if path.is_file()
        for value in [path.read_bytes()]
        for pcm in heard
    )


def test_rows_come_in_when_their_consent_does_and_no_unrelated_change_reads_them_again(world: World) -> None:
    bring_in(world, remedios())
    consents(world, remedios(), {"contributor": "c-9", "given": GIVEN, "sessions": ["otra_*"]})
    assert ticked(world) == []
    consents(world, remedios(given=GIVEN))
    assert ticked(world) != []
    while ticked(world):
        pass
    assert everything_said(world) == ["Dos.", "Uno."]
    assert set(aside(world)) == {"row 3"}


def test_an_entry_that_covers_the_table_speaks_for_its_nameless_clips(world: World) -> None:
    bring_in(world, remedios())
    consents(world, remedios(), whole_table())
    assert ticked(world) != []
    while ticked(world):
        pass
    assert aside(world)["row 3"] == WAITS
    bring_in(world, remedios(), whole_table(given=GIVEN))
    assert everything_said(world) == ["Tres.", "Uno."]


def test_without_the_register_nothing_waits_any_more(world: World) -> None:
    bring_in(world, remedios())
    bare = make_world(world.root, annotation={"tables": [str(table_of(world))]})
    while ticked(bare):
        pass
    assert everything_said(bare) == ["Dos.", "Tres.", "Uno."]


def test_a_table_may_name_the_pseudonym_as_its_speaker(world: World) -> None:
    write_table(table_of(world), [("1.wav", "Uno.", "c-7"), ("2.wav", "Dos.", "c-8")])
    bring_in(world, {"contributor": "c-7"}, {"contributor": "c-8", "given": GIVEN})
    assert everything_said(world) == ["Dos."]
    assert aside(world) == {"row 1": WAITS}


@pytest.mark.parametrize("speaker", ["", "Speaker A"])
def test_words_on_hablas_segments_wait_whatever_the_row_calls_the_voice(world: World, speaker: str) -> None:
    rows = [(f"{A}/segment_00{n}.wav", f"Frase {n}.", speaker) for n in (1, 2)]
    write_table(table_of(world), rows)
    bring_in(world, remedios())
    assert everything_said(world) == ["Frase 1."]
    assert aside(world) == {"row 2": WAITS}
    bring_in(world, remedios(given=GIVEN))
    assert everything_said(world) == ["Frase 1.", "Frase 2."]


def test_a_copy_of_a_known_sound_waits_for_whom_the_lake_knows_it_to_be(world: World) -> None:
    consents(world)
    ingest_day(world.recordings, DAY, world.lake, world.settings, NOW)
    (table_of(world).parent / "2.wav").write_bytes((world.recordings / A / "segment_002.wav").read_bytes())
    write_table(table_of(world), [("2.wav", "Dos.", "")])
    bring_in(world, remedios())
    assert everything_said(world) == []
    assert aside(world) == {"row 1": WAITS}


def test_one_row_that_names_a_voice_keeps_the_sound_out_under_every_name(world: World) -> None:
    write_table(table_of(world), [("2.wav", "Dos.", "Lucía"), ("2.wav", "Dos otra vez.", "Remedios")])
    bring_in(world, remedios())
    assert everything_said(world) == []
    assert set(aside(world)) == {"row 1", "row 2"}


def test_a_clip_of_a_withheld_session_waits_where_nobody_says_who_speaks(world: World) -> None:
    folder = table_of(world).parent
    age(write_session(world.recordings, B, 2, entries={2: {"speaker": "Remedios"}}), 24)
    bring_in(world, remedios())
    write_session(folder, B, 2)
    (folder / B / "metadata.json").unlink()
    for path in (world.recordings / B).iterdir():
        path.unlink()
    (world.recordings / B).rmdir()
    write_table(table_of(world), [(f"{B}/segment_002.wav", "Dos.", "")])
    bring_in(world, remedios())
    assert everything_said(world) == ["Uno."]
    assert "nobody says whose voice it is" in aside(world)["row 1"]
    bring_in(world, remedios(given=GIVEN))
    assert everything_said(world) == ["Dos.", "Uno."]


def test_a_withdrawn_voice_is_kept_out_for_ever(world: World) -> None:
    bring_in(world, remedios(given=GIVEN, withdrawn="2026-05-01"))
    assert aside(world)["row 2"] == "the consent of its contributor was withdrawn on 2026-05-01"
    assert len(read_tombstones(world.lake).sounds) == 2
    bring_in(world, remedios(given=GIVEN))
    table_of(world).touch()
    assert table_changed(table_of(world), world.lake)
    while ticked(world):
        pass
    assert everything_said(world) == ["Uno."]
    assert "was erased" in aside(world)["row 2"]


def test_a_register_that_cannot_be_read_is_no_fault_of_the_table(world: World) -> None:
    bring_in(world, remedios())
    path = world.settings.consent.registry
    assert path is not None
    write_table(table_of(world), [("1.wav", "Uno, dos.", "Lucía")])
    table_of(world).touch()
    path.write_text("contributors: [")
    for _ in range(2):
        with pytest.raises(InputError, match="cannot be read"):
            ticked(world)
    bring_in(world, remedios())
    assert "Uno, dos." in everything_said(world)
