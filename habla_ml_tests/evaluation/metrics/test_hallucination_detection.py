import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.metrics.hallucination_detection import (
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
from habla_ml.settings import EvaluationSettings
from habla_ml_tests.testing.simulated_hypotheses import make_utterance

WORDS = st.lists(st.sampled_from(["sí", "no", "la", "casa"]), max_size=12)


def list_loops(hypothesis: str, reference: str = "") -> list[tuple[str, int]]:
    return [(" ".join(each.phrase), each.repetitions) for each in find_loops(hypothesis.split(), reference.split())]


def find_in_utterances(*rows: tuple[str, str, float], settings: EvaluationSettings | None = None):
    references = [
        Reference.of(make_utterance(f"seg-{at}", f"s{at}", reference, duration_s=duration_s))
        for at, (reference, _, duration_s) in enumerate(rows)
    ]
    texts = [hypothesis for _, hypothesis, _ in rows]
    scores = score_utterances([each.sentence for each in references], texts, normalise_spanish)
    return find_speech_hallucinations(
        references, texts, [each.words for each in scores], settings or EvaluationSettings()
    )


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
def test_a_loop_has_three_repetitions_and_two_more_than_the_reference(hypothesis, reference, expected):
    assert list_loops(hypothesis, reference) == expected


@settings(max_examples=200)
@given(WORDS, WORDS, WORDS, st.integers(3, 6))
def test_a_loop_is_found_between_any_words(before, after, phrase, times):
    repeated = [f"x{word}" for word in phrase[:4]] or ["x"]
    found = find_loops([*before, *repeated * times, *after], [*before, *repeated, *after])
    # If the phrase has repetitions itself, the loop may be a part of it.
    assert any(each.repetitions >= times and set(each.phrase) <= set(repeated) for each in found)


@settings(max_examples=200)
@given(WORDS)
def test_a_repetition_in_the_reference_is_no_loop(words):
    assert find_loops(words, words) == ()


def test_the_list_of_stock_phrases_is_normalised_and_has_about_sixty():
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
def test_a_stock_phrase_counts_if_the_reference_does_not_have_it(hypothesis, reference, expected):
    found = find_stock_phrase(
        normalise_spanish(hypothesis).split(), normalise_spanish(reference).split(), load_stock_phrases()
    )
    assert (found and " ".join(found.words)) == expected


def test_settings_may_add_phrases_and_whole_texts():
    phrases = load_stock_phrases(["¡Hola, amigos de Internet!", "= Vale."])
    assert find_stock_phrase(["hola", "amigos", "de", "internet", "hoy"], [], phrases)
    assert find_stock_phrase(["vale"], [], phrases)
    assert find_stock_phrase(["vale", "ya"], [], phrases) is None


def test_the_findings_of_utterances_equal_those_by_hand():
    short, long, looping, thanks = find_in_utterances(
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


def test_a_repetitive_reference_gives_no_finding_by_compression():
    text = "no " * 80
    (found,) = find_in_utterances((text, text, 9.0))
    assert found.compression_ratio is not None
    assert found.compression_ratio > 2.4
    assert not found.is_invented


def test_the_settings_determine_the_bounds():
    (found,) = find_in_utterances(
        ("Sí.", "Sí, sí, sí, sí, sí, sí.", 2.5), settings=EvaluationSettings(short_below_s=3.0, compression_ratio=1.01)
    )
    assert found.short_words == 1
    assert found.is_compressed


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(EvaluationError, match="1 references and 0 texts and 1 counts"):
        find_speech_hallucinations(
            [Reference.of(make_utterance("a", "s", "hola"))], [], [ErrorCounts()], EvaluationSettings()
        )
