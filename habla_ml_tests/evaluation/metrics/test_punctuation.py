import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.metrics.punctuation import (
    CAPITAL,
    MARKS,
    PunctuationScore,
    compare_f1,
    count_punctuation,
    score_punctuation,
)

TEXTS = st.lists(
    st.sampled_from(["Hola,", "hola", "¿Qué", "qué", "tal?", "tal", "sí.", "Sí…", "¡Ana!", "3,5", "[ruido]", "—"]),
    max_size=9,
).map(" ".join)


def count_by_mark(reference: str, hypothesis: str) -> dict[str, tuple[int, ...]]:
    """Return mark → places in both texts, only in the hypothesis, and only in the reference."""
    (places,) = count_punctuation([reference], [hypothesis]).places
    return {mark: tuple(row.tolist()) for mark, row in zip((*MARKS, CAPITAL), places, strict=True) if row.any()}


def test_marks_and_capitals_equal_those_counted_by_hand():
    found = count_by_mark("¿Cómo estás, Ana? Bien.", "Cómo estás, ana? bien")
    assert found == {",": (1, 0, 0), "?": (1, 0, 0), ".": (0, 0, 1), "¿": (0, 0, 1), "capital": (1, 0, 2)}


def test_marks_at_an_incorrect_word_do_not_count():
    found = count_by_mark("Los niños, traen. Pan.", "Los nio, traen. Pan!")
    assert found == {".": (1, 0, 1), "!": (0, 1, 0), "capital": (2, 0, 0)}
    whole = count_punctuation(["Los niños, traen. Pan."], ["Los nio, traen. Pan!"])
    assert (whole.reference_words, whole.matched_words) == (4, 3)


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("Pues... no.", "Pues… no."),
        ("Son 3,5 y 1.500.", "Son 3,5 y 1.500."),
        ("Son 3, no 4.", "Son tres, no cuatro."),
        ("[noise] Hola. [laughter]", "Hola."),
        ("Hola , Ana .", "Hola, Ana."),
        ("sí. ¿Qué?", "sí.¿Qué?"),
        ("«Hola», dijo.", '"Hola", dijo.'),
        ("pa' casa.", "pa’ casa."),
    ],
)
def test_equivalent_spellings_agree(reference, hypothesis):
    found = count_punctuation([reference], [hypothesis])
    assert found.matched_words == found.reference_words > 0
    assert not found.places[..., 1:].any()


def test_a_decimal_comma_is_no_comma():
    assert count_by_mark("son 3,5.", "son 3,5.") == {".": (1, 0, 0)}


def test_empty_texts_have_no_marks():
    for reference, hypothesis in (("", ""), ("Hola.", ""), ("", "Hola."), ("...", "Hola."), ("[noise]", "¿?")):
        assert count_by_mark(reference, hypothesis) == {}
    assert count_punctuation([], []).places.shape == (0, len(MARKS) + 1, 3)
    with pytest.raises(EvaluationError, match="1 references and 0 hypotheses"):
        count_punctuation(["a"], [])


@settings(max_examples=150)
@given(TEXTS)
def test_a_text_agrees_with_itself(text):
    found = count_punctuation([text], [text])
    assert found.matched_words == found.reference_words
    assert not found.places[..., 1:].any()


@settings(max_examples=150)
@given(TEXTS, TEXTS)
def test_swapped_texts_give_swapped_counts(left, right):
    there, back = count_punctuation([left], [right]), count_punctuation([right], [left])
    if there.matched_words == back.matched_words == there.reference_words == back.reference_words:
        assert there.places.tolist() == back.places[..., [0, 2, 1]].tolist()


def test_the_score_is_the_f1_of_each_mark_and_of_all_marks():
    references = ["Hola, Ana.", "¿Qué tal?"] * 6
    hypotheses = ["hola Ana.", "¿Qué tal?"] * 6
    found = score_punctuation([f"s{at // 2}" for at in range(12)], count_punctuation(references, hypotheses), 400, 1)
    by_mark = {each.mark: each for each in found.marks}
    assert by_mark[","].f1 is not None
    assert by_mark[","].f1.value == 0
    assert by_mark[";"].f1 is None
    # 18 marks in both texts, 6 commas are missing.
    assert found.punctuation.f1 is not None
    assert found.punctuation.f1.value == pytest.approx(36 / 42)
    assert found.capitals.f1 is not None
    assert found.capitals.f1.value == pytest.approx(24 / 30)
    assert (found.reference_words, found.matched_words) == (24, 24)
    assert PunctuationScore.model_validate_json(found.model_dump_json()) == found


def sum_marks(counts):
    return counts.places[:, : len(MARKS)].sum(axis=1)


def test_the_difference_is_that_of_the_two_f1():
    references = ["Hola, Ana. ¿Qué tal?"] * 10
    sessions = [f"s{at}" for at in range(10)]
    old = count_punctuation(references, ["hola ana qué tal"] * 5 + ["Hola, Ana. ¿Qué tal?"] * 5)
    new = count_punctuation(references, references)
    points = compare_f1(sessions, [sum_marks(old), sum_marks(new)], [(0, 1)], 400, 1)[0, 1]
    assert points is not None
    # The old model has half of all marks: F1 is 2 · 20 / (2 · 20 + 20).
    assert points.value == pytest.approx(100 * (1 - 40 / 60))
    assert points.low > 0
    none = count_punctuation(["hola"] * 10, ["hola"] * 10)
    assert compare_f1(sessions, [sum_marks(none)] * 2, [(0, 1)], 400, 1) == {(0, 1): None}


def test_there_is_no_score_without_utterances():
    found = score_punctuation([], count_punctuation([], []), 100, 1)
    assert found.punctuation.f1 is None
    assert found.capitals.f1 is None
