import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.metrics.hallucination_detection import (
    HallucinationThresholds,
    Loop,
    StockPhrase,
    find_loops,
    find_speech_hallucinations,
    find_stock_phrase,
    load_stock_phrases,
)
from habla_ml.evaluation.metrics.inputs import Reference
from habla_ml.evaluation.scoring.alignment import ErrorCounts, score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml_tests.testing.simulated_hypotheses import make_utterance

WORDS = st.lists(st.sampled_from(["sí", "no", "la", "casa"]), max_size=12)


def loops(hypothesis: str, reference: str = "") -> list[tuple[str, int]]:
    return [(" ".join(each.phrase), each.repetitions) for each in find_loops(hypothesis.split(), reference.split())]


def findings(*rows: tuple[str, str, float], bounds: HallucinationThresholds | None = None):
    references = [
        Reference.of(make_utterance(f"seg-{at}", f"s{at}", said, duration_s=duration_s))
        for at, (said, _, duration_s) in enumerate(rows)
    ]
    texts = [heard for _, heard, _ in rows]
    words = [each.words for each in score_utterances([each.sentence for each in references], texts, normalise_spanish)]
    return find_speech_hallucinations(references, texts, words, bounds)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [
        ("que sí que sí que sí", "que sí", [("que sí", 3)]),
        ("a a a b a a a b a a a b", "a b", [("a a a b", 3)]),
        ("no no no", "no no no", []),
        ("no no no no", "no no no", []),
        ("no no no no no", "no no no", [("no", 5)]),
        ("no no no", "no no", []),
        ("no no", "", []),
        ("la casa la casa la casa y ya ya ya ya", "la casa y ya", [("la casa", 3), ("ya", 4)]),
        ("uno dos tres cuatro", "uno dos tres cuatro", []),
    ],
)
def test_a_loop_stands_three_times_in_a_row_and_twice_more_than_it_was_said(hypothesis, reference, expected):
    assert loops(hypothesis, reference) == expected


@settings(max_examples=200)
@given(WORDS, WORDS, WORDS, st.integers(3, 6))
def test_a_planted_loop_is_found_whatever_stands_around_it(before, after, phrase, times):
    planted = [f"x{word}" for word in phrase[:4]] or ["x"]
    found = find_loops([*before, *planted * times, *after], [*before, *planted, *after])
    # Of a phrase that repeats within itself, the loop found may be its smaller part.
    assert any(each.repetitions >= times and set(each.phrase) <= set(planted) for each in found)


@settings(max_examples=200)
@given(WORDS)
def test_what_was_said_is_never_a_loop(words):
    assert find_loops(words, words) == ()


def test_the_shipped_phrases_are_known_words_in_a_useful_number():
    phrases = load_stock_phrases()
    assert 40 <= len(phrases) <= 80
    assert StockPhrase(("gracias", "por", "ver", "el", "video"), False) in phrases
    assert StockPhrase(("gracias",), True) in phrases
    assert all(" ".join(each.words) == normalise_spanish(" ".join(each.words)) for each in phrases)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [
        ("Y ahora... ¡Gracias por ver el video!", "y ahora", "gracias por ver el video"),
        (
            "Subtítulos realizados por la comunidad de Amara.org",
            "",
            "subtítulos realizados por la comunidad de amara org",
        ),
        ("Gracias.", "", "gracias"),
        ("Muchas gracias, profe.", "muchas veces profe", None),
        ("Gracias.", "gracias", None),
        ("Suscríbete al canal", "suscríbete al canal", None),
        ("", "", None),
    ],
)
def test_a_stock_phrase_counts_where_nobody_said_it(hypothesis, reference, expected):
    found = find_stock_phrase(
        normalise_spanish(hypothesis).split(), normalise_spanish(reference).split(), load_stock_phrases()
    )
    assert (found and " ".join(found.words)) == expected


def test_a_config_may_add_phrases_and_a_whole_text_mark():
    phrases = load_stock_phrases(["¡Hola, amigos de Internet!", "= Vale."])
    assert find_stock_phrase(["hola", "amigos", "de", "internet", "hoy"], [], phrases)
    assert find_stock_phrase(["vale"], [], phrases)
    assert find_stock_phrase(["vale", "ya"], [], phrases) is None


def test_findings_of_an_utterance_are_what_can_be_read_off_its_texts():
    short, long, looping, thanks = findings(
        ("Sí.", "Sí, claro que sí.", 1.9),
        ("Los niños.", "Los niños del mar.", 2.0),
        ("Vale.", "vale " * 60, 3.0),
        ("Adiós a todos.", "Adiós a todos. Gracias por ver.", 3.0),
    )
    assert (short.short_words, short.insertions, short.is_invented) == (1, 3, False)
    assert (long.short_words, long.insertions) == (None, 2)
    assert looping.loops == (Loop(("vale",), 60),)
    assert looping.is_compressed
    assert looping.compression_ratio is not None
    assert looping.compression_ratio > 10
    assert thanks.stock_phrase is not None
    assert thanks.is_invented
    assert not thanks.is_compressed


def test_a_person_who_repeats_themselves_is_not_taken_for_a_loop_by_compression():
    said = "no " * 80
    (found,) = findings((said, said, 9.0))
    assert found.compression_ratio is not None
    assert found.compression_ratio > 2.4
    assert not found.is_invented


def test_the_bounds_are_the_callers():
    (found,) = findings(
        ("Sí.", "Sí, sí.", 2.5), bounds=HallucinationThresholds(short_below_s=3.0, compression_ratio=0.5)
    )
    assert found.short_words == 1
    assert found.is_compressed


def test_lists_that_do_not_belong_together_are_refused():
    with pytest.raises(EvaluationError, match="1 references, 0 texts and 1 counts"):
        find_speech_hallucinations([Reference.of(make_utterance("a", "s", "hola"))], [], [ErrorCounts()])
