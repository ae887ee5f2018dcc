import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.metrics.punctuation import (
    MARKS,
    MatchCounts,
    PunctuationScore,
    compare_punctuation,
    count_punctuation,
    score_punctuation,
)

TEXTS = st.lists(
    st.sampled_from(["Hola,", "hola", "¿Qué", "qué", "tal?", "tal", "sí.", "Sí…", "¡Ana!", "3,5", "[ruido]", "—"]),
    max_size=9,
).map(" ".join)


def count_by_mark(reference: str, hypothesis: str) -> dict[str, MatchCounts]:
    (found,) = count_punctuation([reference], [hypothesis])
    marks = {mark: counts for mark, counts in zip(MARKS, found.marks, strict=True) if counts != MatchCounts()}
    return {**marks, "capital": found.capitals}


def test_marks_and_capitals_are_those_counted_by_hand():
    found = count_by_mark("¿Cómo estás, Ana? Bien.", "Cómo estás, ana? bien")
    assert found == {
        ",": MatchCounts(both=1),
        "?": MatchCounts(both=1),
        ".": MatchCounts(only_reference=1),
        "¿": MatchCounts(only_reference=1),
        "capital": MatchCounts(both=1, only_reference=2),
    }


def test_a_mark_beside_a_misheard_word_is_left_out():
    found = count_by_mark("Los niños, traen. Pan.", "Los nio, traen. Pan!")
    assert found == {
        ".": MatchCounts(both=1, only_reference=1),
        "!": MatchCounts(only_hypothesis=1),
        "capital": MatchCounts(both=2),
    }
    (whole,) = count_punctuation(["Los niños, traen. Pan."], ["Los nio, traen. Pan!"])
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
def test_ways_of_writing_the_same_count_as_the_same(reference, hypothesis):
    found = count_punctuation([reference], [hypothesis])[0]
    assert found.matched_words == found.reference_words > 0
    assert all(not each.only_reference and not each.only_hypothesis for each in (*found.marks, found.capitals))


def test_a_decimal_comma_is_no_comma():
    assert count_by_mark("son 3,5.", "son 3,5.") == {".": MatchCounts(both=1), "capital": MatchCounts()}


def test_f1_precision_and_recall_are_fractions_and_undefined_without_marks():
    counts = MatchCounts(both=2, only_hypothesis=1, only_reference=3)
    assert counts.f1 == pytest.approx(4 / 8)
    assert counts.precision == pytest.approx(2 / 3)
    assert counts.recall == pytest.approx(2 / 5)
    assert (MatchCounts().f1, MatchCounts().precision, MatchCounts().recall) == (None, None, None)
    assert MatchCounts(only_hypothesis=1).f1 == 0


def test_empty_texts_count_nothing():
    for reference, hypothesis in (("", ""), ("Hola.", ""), ("", "Hola."), ("...", "Hola."), ("[noise]", "¿?")):
        assert count_by_mark(reference, hypothesis) == {"capital": MatchCounts()}
    assert count_punctuation([], []) == ()
    with pytest.raises(EvaluationError, match="1 references and 0 hypotheses"):
        count_punctuation(["a"], [])


@settings(max_examples=150)
@given(TEXTS)
def test_a_text_agrees_with_itself(text):
    (found,) = count_punctuation([text], [text])
    assert found.matched_words == found.reference_words
    assert all(each.f1 in (None, 1.0) for each in (*found.marks, found.capitals))


@settings(max_examples=150)
@given(TEXTS, TEXTS)
def test_swapping_the_texts_swaps_precision_and_recall(left, right):
    (there,), (back,) = count_punctuation([left], [right]), count_punctuation([right], [left])
    if there.matched_words == back.matched_words == there.reference_words == back.reference_words:
        assert [each.precision for each in there.marks] == [each.recall for each in back.marks]


def test_the_score_averages_over_all_marks_and_has_intervals_over_sessions():
    references = ["Hola, Ana.", "¿Qué tal?"] * 6
    heard = ["hola Ana.", "¿Qué tal?"] * 6
    found = score_punctuation([f"s{at // 2}" for at in range(12)], count_punctuation(references, heard), 400, 1)
    by_mark = {each.mark: each for each in found.marks}
    assert by_mark[","].f1 is not None
    assert by_mark[","].f1.value == 0
    assert by_mark[";"].f1 is None
    # 18 marks in both, 6 commas missing
    assert found.punctuation.f1 is not None
    assert found.punctuation.f1.value == pytest.approx(36 / 42)
    assert found.capitals.f1 is not None
    assert found.capitals.f1.value == pytest.approx(24 / 30)
    assert (found.reference_words, found.matched_words) == (24, 24)
    assert PunctuationScore.model_validate_json(found.model_dump_json()) == found


def test_a_change_is_that_of_the_two_f1():
    references = ["Hola, Ana. ¿Qué tal?"] * 10
    sessions = [f"s{at}" for at in range(10)]
    old = count_punctuation(references, ["hola ana qué tal"] * 5 + ["Hola, Ana. ¿Qué tal?"] * 5)
    new = count_punctuation(references, references)
    marks, _ = compare_punctuation(sessions, [old, new], [(0, 1)], 400, 1)
    points = marks[0, 1]
    assert points is not None
    # Half of all marks were there: F1 was 2 · 20 / (2 · 20 + 20).
    assert points.value == pytest.approx(100 * (1 - 40 / 60))
    assert points.low > 0
    none = count_punctuation(["hola"] * 10, ["hola"] * 10)
    assert compare_punctuation(sessions, [none, none], [(0, 1)], 400, 1)[0] == {(0, 1): None}


def test_a_score_of_nothing_is_no_figure():
    found = score_punctuation([], (), 100, 1)
    assert found.punctuation.f1 is None
    assert found.capitals.f1 is None
