import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.names import FolderIndex, canonical_name, choose_spellings, is_same_name, matches_pattern
from habla_ml_tests.testing.spellings import respell, spellings_of

_LETTERS = st.characters(codec="utf-8", categories=("L", "M", "N", "P", "Zs"))


@given(name=st.text(_LETTERS, min_size=1), data=st.data())
def test_every_spelling_of_a_name_has_one_canonical_form(name: str, data: st.DataObject) -> None:
    assert canonical_name(data.draw(spellings_of(name))) == canonical_name(name)


@given(name=st.text())
def test_the_canonical_form_is_its_own_canonical_form(name: str) -> None:
    assert canonical_name(canonical_name(name)) == canonical_name(name)


@pytest.mark.parametrize("spelling", respell("Lucía Peña"))
def test_spellings_of_a_name_are_the_same_name(spelling: str) -> None:
    assert canonical_name(spelling) == "lucía peña"


@pytest.mark.parametrize("other", ["Lucia", "Lucía P", "Lucío", ""])
def test_other_letters_and_accents_are_other_names(other: str) -> None:
    assert not is_same_name("Lucía", other)


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0", "\u200b", "\ufeff"])
def test_a_name_without_visible_characters_is_empty(blank: str) -> None:
    assert canonical_name(blank) == ""


def test_a_pattern_matches_every_spelling_and_what_it_matched_as_typed() -> None:
    assert matches_pattern(unicodedata.normalize("NFD", "AULA-Niño-1"), "aula-niñ?-*")
    assert matches_pattern("Aula-7", "[A-Z]ula-*")
    assert not matches_pattern("aula-b", "aula-a*")


def test_the_most_frequent_spelling_is_shown() -> None:
    found = choose_spellings(["lucía", "Lucía", "Lucía", "LUCÍA", "Paco"])
    assert found == {"lucía": "Lucía", "Lucía": "Lucía", "LUCÍA": "Lucía", "Paco": "Paco"}


def test_a_file_is_found_in_both_forms_of_its_accents(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "niños/canción ñ.wav")
    (tmp_path / decomposed).parent.mkdir()
    (tmp_path / decomposed).write_bytes(b"sound")
    (tmp_path / "coro.wav").write_bytes(b"other")
    index = FolderIndex(tmp_path)
    assert index.find("niños/canción ñ.wav").read_bytes() == b"sound"
    assert index.find(decomposed).read_bytes() == b"sound"
    assert index.find("coro.wav").read_bytes() == b"other"
    assert index.find("niños/otra.wav") == tmp_path / decomposed.split("/")[0] / "otra.wav"
    assert not index.find("Canción ñ.wav").exists()
