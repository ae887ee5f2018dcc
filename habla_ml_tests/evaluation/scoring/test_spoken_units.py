"""Every abbreviation and unit has the word that a person says, and the choice among readings is the best of all."""

from __future__ import annotations

import itertools
import random

import pytest

from habla_ml.evaluation.scoring.abbreviations import (
    ABBREVIATIONS,
    CURRENCIES,
    DOTTED_ABBREVIATIONS,
    UNITS,
    UNITS_AFTER_DIGITS,
)
from habla_ml.evaluation.scoring.alignment import score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.readings import is_same_text, list_spans

SPOKEN = """
sr señor, sra señora, srta señorita, sres señores, sras señoras, srtas señoritas, dr doctor, dra doctora, dres doctores,
dña doña, dª doña, ud usted, vd usted, uds ustedes, vds ustedes, profa profesora, profª profesora, etc etcétera,
pág página, págs páginas, núm número, núms números, nro número, tfno teléfono, tlf teléfono, avda avenida, pza plaza,
plza plaza, aprox aproximadamente, dpto departamento, dcha derecha, izqda izquierda, vs versus, vs contra,
eeuu estados unidos, mª maría,
prof. profesor, art. artículo, cap. capítulo, tel. teléfono, av. avenida, sto. santo, sta. santa, gral. general,
máx. máximo, máx. máxima, mín. mínimo, mín. mínima, ej. ejemplo, ej. ejercicio, vol. volumen, fig. figura,
izq. izquierda, izq. izquierdo, lic. licenciado, lic. licenciada, admón. administración, num. número, pag. página
"""
AFTER_FIVE = """
km kilómetros, hm hectómetros, cm centímetros, kg kilos, kg kilogramos, mg miligramos, ml mililitros, cl centilitros,
dl decilitros, kw kilovatios, kwh kilovatios hora, hz hercios, hz hertzios, khz kilohercios, mhz megahercios,
ghz gigahercios, kb kilobytes, kb kas, kb ka be, mb megas, mb megabytes, mb eme be, gb gigas, gb gigabytes, gb ge be,
tb teras, tb terabytes, tb te be, kcal kilocalorías, kcal calorías, db decibelios, km/h kilómetros por hora,
km/h kilómetros hora, km/s kilómetros por segundo, m/s metros por segundo, km² kilómetros cuadrados, km2 kilómetros cuadrados,
cm² centímetros cuadrados, cm2 centímetros cuadrados, cm³ centímetros cúbicos, cm3 centímetros cúbicos,
m² metros cuadrados, m³ metros cúbicos, m metros, m eme, m2 metros cuadrados, m3 metros cúbicos, mm milímetros,
g gramos, g ge, gr gramos, grs gramos, l litros, l ele, h horas, h hache, hs horas, hrs horas, min minutos, mins minutos,
s segundos, s ese, seg segundos, t toneladas, t te, ha hectáreas, w vatios, v voltios, v uve, kgs kilos, kgs kilogramos,
kms kilómetros, € euros, $ dólares, $ pesos, £ libras, ¥ yenes
"""
AFTER_ONE = """
km kilómetro, hm hectómetro, cm centímetro, kg kilo, kg kilogramo, mg miligramo, ml mililitro, cl centilitro,
dl decilitro, kw kilovatio, kwh kilovatio hora, hz hercio, hz hertzio, khz kilohercio, mhz megahercio, ghz gigahercio,
kb kilobyte, kb ka, mb mega, mb megabyte, gb giga, gb gigabyte, tb tera, tb terabyte, kcal kilocaloría, db decibelio,
km/h kilómetro por hora, km/h kilómetro hora, km/s kilómetro por segundo, m/s metro por segundo,
km² kilómetro cuadrado, km2 kilómetro cuadrado,
cm² centímetro cuadrado, cm2 centímetro cuadrado, cm³ centímetro cúbico, cm3 centímetro cúbico, m² metro cuadrado,
m³ metro cúbico, m metro, m2 metro cuadrado, m3 metro cúbico, mm milímetro, g gramo, gr gramo, grs gramo, l litro,
h hora, hs hora, hrs hora, min minuto, mins minuto, s segundo, seg segundo, t tonelada, ha hectárea, w vatio, v voltio,
kgs kilo, kgs kilogramo, kms kilómetro, € euro, $ dólar, $ peso, £ libra, ¥ yen
"""


def parse_pairs(text: str) -> list[tuple[str, str]]:
    return [(written, spoken) for each in text.split(",") for written, _, spoken in [each.strip().partition(" ")]]


def is_read_as(written: str, spoken: str) -> bool:
    return is_same_text(normalise_spanish(written), normalise_spanish(spoken))


def test_every_abbreviation_and_unit_is_read_as_its_words() -> None:
    spoken, five, one = (parse_pairs(each) for each in (SPOKEN, AFTER_FIVE, AFTER_ONE))
    assert {key.rstrip(".") for key, _ in spoken} == {*ABBREVIATIONS, *DOTTED_ABBREVIATIONS}
    units = {*UNITS, *UNITS_AFTER_DIGITS, *CURRENCIES}
    assert {key for key, _ in five} == {key for key, _ in one} == units
    found = [(f"de {key} x", f"de {words} x") for key, words in spoken]
    found += [(f"son 5 {key}", f"son cinco {words}") for key, words in five]
    articles = {
        key: "una" if words in ("tonelada", "hora", "hectárea", "libra", "kilocaloría") else "un" for key, words in one
    }
    found += [(f"es 1 {key}", f"es {articles[key]} {words}") for key, words in one]
    assert [pair for pair in found if not is_read_as(*pair)] == []


def test_the_first_reading_is_the_word_of_one_or_of_several() -> None:
    """Metrics that read a text alone, such as term recall, use the first reading."""
    for written, first in (
        ("60 000 000", "sesenta millones"),
        ("600 123 456", "seiscientos ciento veintitrés cuatrocientos cincuenta y seis"),
        ("a 1 °C", "a uno grado"),
        ("a 21 °C", "a veintiuno grados"),
        ("1" * 61, " ".join(["uno"] * 61)),
    ):
        assert str(normalise_spanish(written)) == first


def test_every_number_word_from_thirty_to_ninety_nine_is_one_word_or_three() -> None:
    tens = ["treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa"]
    ones = {
        each: each for each in ["uno", "un", "una", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"]
    }
    for ten, (joined, apart) in itertools.product(
        tens, (ones | {"dós": "dos", "trés": "tres", "séis": "seis"}).items()
    ):
        assert is_read_as(f"{ten}i{joined} y ya", f"{ten} y {apart} y ya"), (ten, joined)
        assert not is_read_as(f"{ten}i{joined}", f"{ten} y otros {apart}")


FORMS = ["21", "3:15", "1/2", "2,5 kg", "31", "5 °C", "siglo XX", "15/3", "1 h"]
WORDS = """
veintiuna veintiuno tres y cuarto quince un medio una dos kilos media treinta cinco grados siglo veinte hora
"""


def count_edits(one: list[str], other: list[str]) -> int:
    row = list(range(len(other) + 1))
    for at, word in enumerate(one, 1):
        diagonal, row[0] = row[0], at
        for to, against in enumerate(other, 1):
            diagonal, row[to] = row[to], min(row[to] + 1, row[to - 1] + 1, diagonal + (word != against))
    return row[-1]


@pytest.mark.parametrize("seed", range(4))
def test_the_errors_are_the_fewest_of_all_readings_of_the_hypothesis(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        reference = " ".join(rng.choices(WORDS.split(), k=rng.randint(1, 7)))
        hypothesis = normalise_spanish(" ".join(rng.choices(FORMS + WORDS.split(), k=rng.randint(1, 3))))
        choices = [
            [words for reading in span for words in itertools.product(*reading)] for span in list_spans(hypothesis)
        ]
        fewest = min(
            count_edits(reference.split(), [word for part in chosen for word in part])
            for chosen in itertools.product(*choices)
        )
        found = score_utterances([reference], [hypothesis], lambda text: text)[0].words.errors
        assert found == fewest, (reference, str(hypothesis))
