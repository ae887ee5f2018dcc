"""No rule of the current conventions takes out or joins words that are no declared hesitation or false start."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.corpus.conventions import Conventions, load_conventions
from habla_ml_tests.testing.habla_sessions import V1

ORTHOGRAPHIC = load_conventions(V1.with_name("orthographic-v4.yaml"))
VERBATIM = load_conventions(V1.with_name("verbatim-v2.yaml"))
BOTH = pytest.mark.parametrize("conventions", [ORTHOGRAPHIC, VERBATIM], ids=["orthographic", "verbatim"])
HESITATION = re.compile(r"e+h+|e+m+|e{2,}|m{2,}|m+h+m+|a+h+m*|a{2,}h+", re.IGNORECASE)


@BOTH
@pytest.mark.parametrize(
    ("typed", "sentence", "violation"),
    [
        ("Cinco mm de lluvia.", "Cinco mm de lluvia.", "abbreviated word"),
        ("Son 15 mm.", "Son 15 mm.", "abbreviated word"),
        ("Cayeron doscientos mm", "Cayeron doscientos mm", "abbreviated word"),
        ("La Sra. Ruiz", "La Sra. Ruiz", "abbreviated word"),
        ("-5 grados", "-5 grados", "sign before a number"),
        ("−5 grados", "-5 grados", "sign before a number"),
        ("-cinco grados", "-cinco grados", "sign before a number"),
        ("Hace -5 grados", "Hace -5 grados", "sign before a number"),
        ("Ganó EH Bildu", "Ganó EH Bildu", "acronym like a hesitation"),
        ("En EE. UU. no", "En EE. UU. no", "acronym like a hesitation"),
    ],
)
def test_units_signs_and_acronyms_stay_and_are_reported(
    conventions: Conventions, typed: str, sentence: str, violation: str
) -> None:
    reading = conventions.read(typed)
    assert reading.sentence == sentence
    assert violation in reading.violations
    assert conventions.read(sentence).sentence == sentence


@BOTH
@pytest.mark.parametrize("typed", ["- Hola, niños.", "—Cinco niños.", "El 'mm' no.", "La eme y la ge.", "Eh, no."])
def test_dialogue_dashes_and_plain_text_are_no_violation(conventions: Conventions, typed: str) -> None:
    assert conventions.read(typed).violations == ()


def test_a_prefix_stays_and_a_false_start_is_left_out() -> None:
    for typed in ("El curso pre- universitario.", "El pre- y postoperatorio.", "Lo anti-"):
        reading = ORTHOGRAPHIC.read(typed)
        assert re.findall(r"\w+", reading.sentence) == re.findall(r"\w+", typed)
        assert reading.violations == ("prefix with a hyphen",)
    assert ORTHOGRAPHIC.read("Los ni- los niños.").sentence == "Los los niños."


@BOTH
@pytest.mark.parametrize(
    "typed", ["Hola\u2028mundo.", "Hola\u2029mundo.", "Ho\u2060la mundo.", "\u2066Hola\u2069 mun\ufe0fdo."]
)
def test_a_line_end_of_any_kind_separates_words_and_nothing_invisible_does(
    conventions: Conventions, typed: str
) -> None:
    assert conventions.read(typed).sentence == "Hola mundo."


def test_an_ellipsis_between_two_words_does_not_join_them() -> None:
    assert load_conventions(V1.with_name("orthographic-v3.yaml")).read("Pues...no").sentence == "Puesno"
    assert ORTHOGRAPHIC.read("Pues...no").sentence == "Pues no"
    assert ORTHOGRAPHIC.read("¿…Y tú?").sentence == "¿Y tú?"


def test_a_hesitation_with_closed_lips_is_no_unit() -> None:
    assert ORTHOGRAPHIC.read("Mmm, diez mm, mm, no sé.").sentence == "diez mm, no sé."
    assert VERBATIM.read("Mmmm, diez mm, mm.").sentence == "Mm, diez mm, mm."


PARTS = st.sampled_from(
    """Cinco mm MM km eh EH em EM ehm niños pre- ni- ex- -5 −5 – — - 5 % 5% x*y* *wifi* "wifi" «el» a l 2º Sr. EE. UU. ah AH
    ... … , . [noise] ¿eh? mmm hm ' (mm) 5mm la de pa' e m dos\u200b""".split()  # noqa: SIM905 - typed words
)


@given(st.lists(st.tuples(PARTS, st.sampled_from([" ", "", "  ", "\u00a0"])), max_size=8))
def test_a_word_that_disappears_is_a_hesitation_a_false_start_or_a_marker(parts: list[tuple[str, str]]) -> None:
    typed = "".join(part + space for part, space in parts)
    plain = re.sub(r"\[[^\[\]]*\]", " ", typed).replace("\u200b", "")
    for conventions in (ORTHOGRAPHIC, VERBATIM):
        left = re.findall(r"\w+", conventions.read(typed).sentence.lower())
        for word, hyphen in re.findall(r"(\w+)(-?)", plain.lower()):
            if word in left:
                left.remove(word)
            else:
                assert hyphen or HESITATION.fullmatch(word), (typed, word)
        assert not [word for word in left if not HESITATION.fullmatch(word)], "no words are joined or made"


def test_the_profiles_use_the_current_conventions() -> None:
    for profile in ("local", "demo", "production"):
        text = (Path(__file__).parents[2] / "configs" / f"{profile}.yaml").read_text("utf-8")
        assert "configs/conventions/orthographic-v4.yaml" in text
