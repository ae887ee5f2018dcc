"""Numbers, signs and abbreviations count as the words that they are read as, and as no others."""

import csv
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.evaluation.scoring.alignment import align_words, score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.readings import TextWithReadings, choose_reading, is_same_text, list_spans
from habla_ml.evaluation.scoring.spanish_numerals import spell_cardinal

with (Path(__file__).parent / "written_forms.csv").open(encoding="utf-8", newline="") as file:
    PAIRS = [(row["written"], row["spoken"], row["expected"]) for row in csv.DictReader(file)]
EQUAL = [(written, spoken) for written, spoken, expected in PAIRS if expected == "equal"]
DIFFERENT = [(written, spoken) for written, spoken, expected in PAIRS if expected == "different"]


def count_errors(reference: str, hypothesis: str) -> int:
    return score_utterances([reference], [hypothesis], normalise_spanish)[0].words.errors


def test_the_table_has_many_pairs_of_both_kinds() -> None:
    assert len(EQUAL) >= 200
    assert len(DIFFERENT) >= 50


@pytest.mark.parametrize(("written", "spoken"), EQUAL)
def test_a_written_form_equals_its_words_in_both_directions(written: str, spoken: str) -> None:
    assert count_errors(written, spoken) == count_errors(spoken, written) == 0
    assert count_errors(written, written) == 0
    assert is_same_text(normalise_spanish(written), normalise_spanish(spoken))
    assert is_same_text(normalise_spanish(spoken), normalise_spanish(written))


@pytest.mark.parametrize(("written", "spoken"), DIFFERENT)
def test_other_words_than_those_of_a_written_form_are_errors_in_both_directions(written: str, spoken: str) -> None:
    assert count_errors(written, spoken) > 0
    assert count_errors(spoken, written) > 0
    assert not is_same_text(normalise_spanish(written), normalise_spanish(spoken))


@pytest.mark.parametrize("text", sorted({text for pair in PAIRS for text in pair[:2]}))
def test_normalising_a_written_form_again_changes_nothing(text: str) -> None:
    once = normalise_spanish(text)
    assert normalise_spanish(once) == once
    assert all(character.isalnum() or character == " " for character in once)


@pytest.mark.parametrize(("written", "spoken"), EQUAL)
def test_a_sentence_around_a_written_form_keeps_its_own_errors(written: str, spoken: str) -> None:
    reference, hypothesis = f"pues mira {spoken} y ya está", f"pues {written} y ya estaba"
    assert count_errors(reference, hypothesis) == 2
    assert count_errors(f"pues mira {written} y ya está", f"pues {spoken} y ya estaba") == 2


NAMES = """
cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete dieciocho
diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve
treinta cuarenta cincuenta sesenta setenta ochenta noventa
ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos
"""
ONES, TENS, HUNDREDS = NAMES.split()[:30], NAMES.split()[27:37], NAMES.split()[36:]
"""TENS begins at 30 and HUNDREDS at 100; the words before these are never used."""


def write_out(number: int) -> str:
    """Return the cardinal of 0 to 1,000,000 by the rules of the Ortografía, independently of num2words."""
    if number == 1_000_000:
        return "un millón"
    if number >= 1000:
        thousands, rest = divmod(number, 1000)
        head = "" if thousands == 1 else write_out(thousands)
        if head.endswith("veintiuno"):
            head = head.removesuffix("veintiuno") + "veintiún"
        elif head.endswith("uno"):
            head = head.removesuffix("o")
        return " ".join(each for each in (head, "mil", write_out(rest) if rest else "") if each)
    if number >= 100:
        hundred, rest = divmod(number, 100)
        return "cien" if number == 100 else HUNDREDS[hundred] + (f" {write_out(rest)}" if rest else "")
    if number < 30:
        return ONES[number]
    ten, one = divmod(number, 10)
    return TENS[ten] + (f" y {ONES[one]}" if one else "")


def feminine(words: str) -> str:
    turned = [word.replace("cientos", "cientas").replace("quinientos", "quinientas") for word in words.split()]
    changed = {"uno": "una", "un": "una", "veintiuno": "veintiuna", "veintiún": "veintiuna"}
    return " ".join(changed.get(word, word) for word in turned)


def check_number(number: int) -> None:
    words = write_out(number)
    assert normalise_spanish(str(number)) == words
    if number < 1_000_000:
        assert is_same_text(normalise_spanish(str(number)), feminine(words)), number
    assert not is_same_text(normalise_spanish(str(number)), write_out(number + 1 if number < 1_000_000 else 7))


@pytest.mark.long
def test_every_number_up_to_three_thousand_and_many_up_to_a_million_equal_their_words() -> None:
    rng = random.Random(1)
    for number in [*range(3_001), *rng.sample(range(3_001, 1_000_000), 2_000), 1_000_000]:
        check_number(number)


@pytest.mark.slow
def test_every_seventh_number_up_to_a_million_equals_its_words() -> None:
    # Seven divides no power of ten, so every ending of up to three digits comes after many beginnings.
    spelled = ((number, " ".join(word[0] for word in spell_cardinal(number))) for number in range(0, 1_000_001, 7))
    assert not [number for number, words in spelled if words != write_out(number)]


@given(st.integers(0, 1_000_000))
def test_a_number_equals_itself_with_every_grouping(number: int) -> None:
    plain, grouped = write_out(number), f"{number:,}"
    for text in (grouped.replace(",", "."), grouped.replace(",", " "), grouped.replace(",", "\u202f"), grouped):
        assert count_errors(text, plain) == count_errors(plain, text) == 0


@given(st.integers(0, 10**18), st.integers(0, 10**18))
def test_different_numbers_have_different_words(one: int, other: int) -> None:
    assert (count_errors(str(one), str(other)) == 0) is (one == other)


TEXTS = st.text(alphabet="aáeosñ 0123456789.,:/-%ºª€+=IVX km", max_size=25)


@given(TEXTS, TEXTS, TEXTS)
def test_the_reference_has_the_same_number_of_words_for_every_model(reference: str, one: str, other: str) -> None:
    scores = score_utterances([reference, reference], [one, other], normalise_spanish)
    assert len({each.words.reference_words for each in scores}) == 1
    assert scores[0].words.reference_words == len(normalise_spanish(reference).split())
    assert len({each.characters.reference_words for each in scores}) == 1


@given(TEXTS, TEXTS)
def test_the_chosen_reading_is_never_worse_than_the_first(reference: str, hypothesis: str) -> None:
    first = score_utterances([reference], [hypothesis], lambda text: str(normalise_spanish(text)))[0].words.errors
    assert count_errors(reference, hypothesis) <= first
    aligned = align_words(normalise_spanish(reference), normalise_spanish(hypothesis))
    assert sum(step.operation != "equal" for step in aligned) == count_errors(reference, hypothesis)


@given(TEXTS)
def test_every_text_equals_itself(text: str) -> None:
    assert count_errors(text, text) == 0
    assert is_same_text(normalise_spanish(text), normalise_spanish(text))


def test_a_text_without_written_forms_has_one_reading() -> None:
    text = normalise_spanish("¡Los niños, mira, traen la libreta!")
    assert not isinstance(text, TextWithReadings)
    assert choose_reading(text, "los niño") == "los niño"


def test_the_error_tables_show_the_words_of_the_chosen_reading() -> None:
    aligned = align_words(normalise_spanish("son las tres y cuarto"), normalise_spanish("Son las 3:15."))
    assert [step.hypothesis for step in aligned] == ["son", "las", "tres", "y", "cuarto"]
    aligned = align_words(normalise_spanish("Son las 3:15."), normalise_spanish("son la tres y cuarto"))
    assert [(step.reference, step.hypothesis) for step in aligned] == [
        ("son", "son"),
        ("las", "la"),
        ("tres", "tres"),
        ("quince", "quince"),
    ]
    assert [step.hypothesis for step in align_words(normalise_spanish("21 mesas"), "veintiuna mesas")] == [
        "veintiuno",
        "mesas",
    ]


def test_readings_that_share_a_word_form_are_matched_inside_a_longer_number() -> None:
    assert count_errors("232 mesas", "doscientas treinta y una mesas") == 1
    assert count_errors("doscientas treinta y una mesas", "232 mesas") == 1
    assert len(list_spans(normalise_spanish("232 mesas"))) == 2


SENTENCES = [
    ("Hay treinta y cinco alumnos en la clase.", "Hay 35 alumnos en la clase."),
    ("El libro tiene doscientas cuarenta y una páginas.", "El libro tiene 241 páginas."),
    ("Son las tres y cuarto.", "Son las 3:15."),
    ("La clase empieza a las nueve menos cuarto.", "La clase empieza a las 8:45."),
    ("El examen es el quince de marzo de dos mil veinticuatro.", "El examen es el 15/3/2024."),
    ("En el siglo veinte hubo dos guerras.", "En el siglo XX hubo 2 guerras."),
    ("Felipe segundo vivió en El Escorial.", "Felipe II vivió en El Escorial."),
    ("Treinta y cinco menos cincuenta son menos quince.", "35 - 50 = -15."),
    ("Dos más tres son cinco.", "2 + 3 = 5."),
    ("Siete por ocho son cincuenta y seis.", "7 x 8 = 56."),
    ("El cincuenta por ciento ha aprobado.", "El 50 % ha aprobado."),
    ("Estamos a menos cinco grados.", "Estamos a -5 ºC."),
    ("El paquete pesa tres kilos y medio.", "El paquete pesa 3,5 kg."),
    ("El bocadillo cuesta tres euros con cincuenta.", "El bocadillo cuesta 3,50 €."),
    ("La ciudad tiene treinta y un mil habitantes.", "La ciudad tiene 31 000 habitantes."),
    ("España tiene cuarenta y siete millones de habitantes.", "España tiene 47.000.000 de habitantes."),
    ("Vivo en el segundo piso.", "Vivo en el 2.º piso."),
    ("Es la undécima vez.", "Es la 11.ª vez."),
    ("El señor García vive en el número doce.", "El Sr. García vive en el n.º 12."),
    ("Va a ciento veinte kilómetros por hora.", "Va a 120 km/h."),
    ("Comí tres cuartos de la tarta.", "Comí 3/4 de la tarta."),
    ("Contamos uno, dos, tres.", "Contamos 1, 2, 3."),
]
"""What a perfect listener writes in words, and what one writes in digits."""


def test_a_perfect_model_that_writes_digits_has_the_wer_of_its_twin_that_writes_words() -> None:
    words, digits = [list(each) for each in zip(*SENTENCES, strict=True)]
    for references, hypotheses in ((words, digits), (digits, words), (digits, digits)):
        scores = score_utterances(references, hypotheses, normalise_spanish)
        assert [each.words.errors + each.characters.errors for each in scores] == [0] * len(SENTENCES)


def test_a_model_with_errors_has_the_wer_of_its_twin_that_writes_digits() -> None:
    rng = random.Random(3)
    changed = {
        "alumnos": "alumno",
        "libro": "niño",
        "piso": "pisto",
        "clase": "",
        "los": "loh",
        "El": "",
        "en": "en el",
    }
    for _ in range(20):
        words, digits = [], []
        for sentences in SENTENCES:
            dropped = {word for word in changed if rng.random() < 0.5}
            texts = [
                " ".join(changed[word] if word in dropped else word for word in text.split()) for text in sentences
            ]
            words.append(texts[0])
            digits.append(texts[1])
        references = [spoken for spoken, _ in SENTENCES]
        one, other = (score_utterances(references, each, normalise_spanish) for each in (words, digits))
        assert [each.words for each in one] == [each.words for each in other]
        assert sum(each.words.errors for each in one) > 0
