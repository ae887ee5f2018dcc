import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.evaluation.scoring.normalisation import normalise_orthographic, normalise_spanish

CASES = [
    ("¿Cómo estás, niño?", "cómo estás niño"),
    ("¡PAPÁ! La papa...", "papá la papa"),
    ("Sí… no", "sí no"),
    ("tiene 21 años", "tiene veintiuno años"),
    ("1.5 litros", "uno coma cinco litros"),
    ("3,14", "tres coma catorce"),
    ("0,05", "cero coma cero cinco"),
    ("1º de la ESO", "primero de la eso"),
    ("2ª fila, 3er piso", "segunda fila tercer piso"),
    ("25º", "vigésimo quinto"),
    ("el 50% y el 50 %", "el cincuenta por ciento y el cincuenta por ciento"),
    ("1.500 y 1.500.000", "mil quinientos y un millón quinientos mil"),
    ("1.234,56", "mil doscientos treinta y cuatro coma cincuenta y seis"),
    ("en 1999.", "en mil novecientos noventa y nueve"),
    ("agente 007", "agente cero cero siete"),
    ("a las 10:30", "a las diez treinta"),
    ("20 €", "veinte euros"),
    ("[noise] hola [inaudible] adiós <ruido>", "hola adiós"),
    ("[silence]", ""),
    ("...", ""),
    ("eh, em... bueno", "eh em bueno"),
    ("pa'lante to’ el rato", "palante to el rato"),
    ("franco-español", "franco español"),
    ("pingüino ñoño", "pingüino ñoño"),
    (unicodedata.normalize("NFD", "Ñandú está"), "ñandú está"),
    ("a\u200bb", "ab"),
    ("", ""),
]


@pytest.mark.parametrize(("written", "expected"), CASES)
def test_a_spanish_text_is_normalised_to_its_words(written: str, expected: str) -> None:
    assert normalise_spanish(written) == expected


def test_accents_and_enye_stay() -> None:
    assert normalise_spanish("papá") != normalise_spanish("papa")
    assert normalise_spanish("año") != normalise_spanish("ano")


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_normalising_again_changes_nothing(text: str) -> None:
    once = normalise_spanish(text)
    assert normalise_spanish(once) == once
    assert once == " ".join(once.split())


FORMS = (
    "km ml sr p.ej ee uu a.C D. N. I. S.M. m h s 5 12 7'5 ½ ⅓ ² ³ ⁶ / € M€ . , _ ^ - º ª XX V siglo treintaicinco uno "
    "1era % ´ ' \" min kg 90's : 30 °C c/ prof. d.ª n.º"
)


@given(st.lists(st.sampled_from([*FORMS.split(), " "]), max_size=7))
def test_normalising_forms_that_are_glued_together_again_changes_nothing(forms: list[str]) -> None:
    once = normalise_spanish("".join(forms))
    assert normalise_spanish(once) == once


@given(st.text(alphabet="aáeéiíoóuúüñ0123456789.,%ºª€ ¿?¡![]<>", max_size=30))
def test_normalised_spanish_has_letters_and_spaces_only(text: str) -> None:
    assert all(character.isalpha() or character == " " for character in normalise_spanish(text))


@given(st.text())
def test_the_orthographic_form_changes_only_unicode_form_and_spaces(text: str) -> None:
    assert normalise_orthographic(text).split() == unicodedata.normalize("NFC", text).split()


def test_the_orthographic_form_keeps_case_and_punctuation() -> None:
    assert normalise_orthographic("  ¡Hola,\n Ana! [noise] 3 ") == "¡Hola, Ana! [noise] 3"
