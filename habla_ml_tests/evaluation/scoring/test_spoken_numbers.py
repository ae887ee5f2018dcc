"""Ordinals, times of day, long numbers and signs against lists that are written out here by the rules of Spanish."""

from __future__ import annotations

import pytest

from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.readings import TextWithReadings, is_same_text, parse_words
from habla_ml_tests.evaluation.scoring.test_written_forms import write_out

ONES = ["", "primero", "segundo", "tercero", "cuarto", "quinto", "sexto", "séptimo", "octavo", "noveno"]
TENS = """
décimo vigésimo trigésimo cuadragésimo quincuagésimo sexagésimo septuagésimo octogésimo nonagésimo
"""
HUNDREDS = """
centésimo ducentésimo tricentésimo cuadringentésimo quingentésimo sexcentésimo septingentésimo octingentésimo
noningentésimo
"""
JOINED = """
undécimo duodécimo decimotercero decimocuarto decimoquinto decimosexto decimoséptimo decimoctavo decimonoveno
"""


def is_read_as(written: str, spoken: str) -> bool:
    return is_same_text(normalise_spanish(written), normalise_spanish(spoken))


def write_ordinal(number: int) -> str:
    """Return an ordinal from 1 to 1000 in separate words, and those from 11 to 19 as one word."""
    if number == 1000:
        return "milésimo"
    hundred = ["", *HUNDREDS.split()][number // 100]
    if 11 <= number % 100 <= 19:
        rest = JOINED.split()[number % 100 - 11]
    else:
        rest = f"{['', *TENS.split()][number // 10 % 10]} {ONES[number % 10]}"
    return " ".join(f"{hundred} {rest}".split())


def to_feminine(words: str) -> str:
    return " ".join(word.removesuffix("o") + "a" for word in words.split())


def test_every_ordinal_up_to_a_thousand_is_read_as_its_words_in_both_genders() -> None:
    for number in [*range(1, 131), *range(131, 1001, 17), 1000]:
        words = write_ordinal(number)
        assert is_read_as(f"el {number}.º día", f"el {words} día"), words
        assert is_read_as(f"la {number}.ª vez", f"la {to_feminine(words)} vez"), words
        assert not is_read_as(f"el {number}.º día", f"el {write_ordinal(number - 1 or 7)} día"), words


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        *[(f"la 1{suffix} vez", "la primera vez") for suffix in ("ª", "a", "ra")],
        ("la 2da vez", "la segunda vez"),
        ("la 5ta vez", "la quinta vez"),
        ("la 7ma vez", "la séptima vez"),
        ("la 8va vez", "la octava vez"),
        ("la 9na vez", "la novena vez"),
        ("las 3as filas", "las terceras filas"),
        ("las 3ªs filas", "las terceras filas"),
        ("los 3os puestos", "los terceros puestos"),
        ("los 3ºs puestos", "los terceros puestos"),
        ("el 1er día", "el primer día"),
        ("el 3er día", "el tercer día"),
        ("el 21er día", "el vigésimo primer día"),
        ("el 7.º", "el sétimo"),
        ("el 9.º", "el nono"),
        ("el 13.º", "el décimo tercero"),
        ("la 25.ª", "la vigesimoquinta"),
        ("el 1001.º", "el mil uno"),
    ],
)
def test_suffixes_of_ordinals_give_gender_and_number(written: str, spoken: str) -> None:
    assert is_read_as(written, spoken)


def write_hour(hour: int) -> str:
    return "una" if hour == 1 else write_out(hour).replace("veintiuno", "veintiuna")


def test_every_minute_of_the_day_has_its_spoken_times() -> None:
    for hour in range(24):
        now, after = write_hour(hour), write_hour(hour % 12 + 1)
        short, text = write_hour((hour - 1) % 12 + 1), write_hour(hour)
        assert all(
            is_read_as(f"a las {hour}:00", f"a las {each}") for each in (now, f"{now} en punto", f"{now} horas", short)
        )
        for minute in (1, 9, 10, 15, 21, 29, 30, 31, 40, 45, 59):
            spoken = write_out(minute)
            expected = [f"{now} y {spoken}", f"{now} horas y {spoken}", f"{short} y {spoken}", f"{text} {spoken}"]
            expected += [f"{short} y cuarto"] if minute == 15 else [f"{short} y media"] if minute == 30 else []
            expected += [f"{after} menos {write_out(60 - minute)}"] if minute > 30 else []
            expected += [f"{after} menos cuarto"] if minute == 45 else []
            written = f"a las {hour}:{minute:02d}"
            assert [each for each in expected if not is_read_as(written, f"a las {each}")] == [], written
            assert not is_read_as(written, f"a las {now} y {write_out(minute - 1 or 58)}")
            assert minute > 30 or not is_read_as(written, f"a las {after} menos {write_out(60 - minute)}")


@pytest.mark.parametrize(
    ("written", "spoken", "is_equal"),
    [
        ("3:15:20", "tres quince veinte", True),
        ("3:15:20", "tres horas quince minutos y veinte segundos", True),
        ("1:01:01", "una hora un minuto y un segundo", True),
        ("3h 15min", "tres horas quince minutos", True),
        ("3h15min", "tres horas y quince minutos", True),
        ("15.30 h", "quince treinta horas", True),
        ("a las 3:15 pm", "a las tres y cuarto de la tarde", True),
        ("a las 3:15 am", "a las tres y cuarto de la madrugada", True),
        ("a las 3:15 am", "a las tres y cuarto de la tarde", False),
        ("2 000 000", "dos millones", True),
        ("1.000.000", "un millón", True),
        ("21.000.000 de personas", "veintiún millones de personas", True),
        ("21.000.000 de personas", "veintiuna millones de personas", False),
        ("200.000.000 de personas", "doscientas millones de personas", False),
        ("200.500.000 personas", "doscientos millones quinientas mil personas", True),
        ("1.000.000.000.000", "un billón", True),
        ("3.000.000.000.000 de euros", "tres billones de euros", True),
        ("100 mesas", "cien mesas", True),
        ("el 100", "el ciento", True),
        ("100.000 mesas", "ciento mil mesas", False),
        ("1,234.56", "mil doscientos treinta y cuatro con cincuenta y seis", True),
        ("1.234,56", "mil doscientos treinta y cuatro coma cincuenta y seis", True),
        ("10 000,5", "diez mil coma cinco", True),
        ("10 000,5", "diez cero coma cinco", False),
        ("1.2.3", "uno punto dos punto tres", True),
        ("1,2,3", "uno coma dos coma tres", True),
        ("1,2,3", "uno dos tres", True),
        ("x ≤ 5", "x menor o igual que cinco", True),
        ("x ≥ 5", "x mayor o igual que cinco", True),
        ("√ 9", "raíz de nueve", True),
        ("2 = 2", "dos da dos", True),
        ("# 5", "almohadilla cinco", True),
        ("a @ b", "a arroba b", True),
        ("5 & 6", "cinco y seis", True),
        ("½ hora", "media hora", True),
        ("¼ de hora", "un cuarto de hora", True),
        ("¾ de hora", "tres cuartos de hora", True),
        ("1,5 horas", "una hora y media", True),
        ("2,5 millones", "dos millones quinientos mil", True),
        ("2 500,5", "dos quinientos coma cinco", True),
        ("a 1° bajo cero", "a un grado bajo cero", True),
        ("el 10.º grupo", "el diez grupo", False),
        ("el 11.º grupo", "el once grupo", True),
        ("3/10", "tres décimos", True),
        ("3/10", "tres diezavos", False),
        ("3/11", "tres onceavos", True),
        ("3/100", "tres cienavos", False),
        ("123456", "uno veintitrés cuatro cincuenta y seis", True),
        ("1234567", "uno veintitrés cuatro cincuenta y seis siete", False),
        ("setentaitrés", "setenta y tres", True),
        ("612345678", "seiscientos doce treinta y cuatro cincuenta y seis setenta y ocho", True),
        ("612345678", "seiscientos doce trescientos cuarenta y cinco seiscientos setenta y ocho", True),
        ("912345678", "noventa y uno doscientos treinta y cuatro cincuenta y seis setenta y ocho", True),
        ("612345678", "seis doce treinta y cuatro cincuenta y seis setenta y ocho", True),
        ("612345678", "seis uno doscientos treinta y cuatro quinientos sesenta y siete ocho", False),
        ("1.500", "ciento cincuenta cero", False),
        ("7 ÷ 2", "siete dividido entre dos", True),
        ("7 × 2", "siete por dos", True),
    ],
)
def test_times_long_numbers_and_signs_are_read_as_people_say_them(written: str, spoken: str, is_equal: bool) -> None:
    assert is_read_as(written, spoken) is is_equal


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("35−50", "treinta y cinco menos cincuenta"),
        ("35 - 50", "treinta y cinco menos cincuenta"),
        ("35-50", "treinta y cinco cincuenta"),
        ("siglo V", "siglo quinto"),
        ("siglo X", "siglo décimo"),
        ("siglo XI", "siglo once"),
        ("siglo XX", "siglo veinte"),
    ],
)
def test_a_reference_counts_the_words_of_its_usual_reading(written: str, spoken: str) -> None:
    assert str(normalise_spanish(written)) == str(normalise_spanish(spoken)) == spoken


def test_a_text_of_single_readings_is_a_plain_text() -> None:
    assert type(TextWithReadings.of(((parse_words("los"),), (parse_words("niños"),)))) is str
    assert type(TextWithReadings.of(((parse_words("los"),), (parse_words("un|una"),)))) is TextWithReadings
    assert type(TextWithReadings.of(((parse_words("sr"), parse_words("señor")),))) is TextWithReadings
