import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.names import (
    canonical_file_name,
    canonical_name,
    choose_spellings,
    escape_name,
    is_same_name,
    matches_pattern,
)
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


def test_file_names_are_equal_in_both_forms_of_their_accents_and_differ_by_capitals() -> None:
    decomposed = unicodedata.normalize("NFD", "niños/canción 1.wav")
    assert canonical_file_name(decomposed) == canonical_file_name("niños/canción 1.wav")
    assert canonical_file_name("Coro.wav") != canonical_file_name("coro.wav")


@pytest.mark.parametrize(
    ("name", "stored"), [("niños/1.wav", "niños/1.wav"), ("ni\udcf1os", r"ni\udcf1os"), ("a\u00a0b", "a\u00a0b")]
)
def test_a_name_that_is_not_utf_8_is_escaped_and_others_stay(name: str, stored: str) -> None:
    assert escape_name(name) == stored
    assert escape_name(name).encode().decode() == stored
