import random
import subprocess
import sys
from itertools import zip_longest

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring.alignment import (
    AlignedWord,
    ErrorCounts,
    align_words,
    compute_corpus_wer,
    match_equal_words,
    score_utterances,
    sum_counts,
)
from habla_ml.evaluation.scoring.normalisation import normalise_orthographic, normalise_spanish
from habla_ml_tests.testing.sclite_alignment import count_levenshtein_edits, count_sclite_edits

SENTENCES = st.lists(st.sampled_from(["los", "niños", "traen", "la", "libreta"]), max_size=6).map(" ".join)


def test_word_errors_equal_the_counts_by_hand() -> None:
    found = score_utterances(
        ["Los niños traen la libreta.", "¿Cómo estás?", "Son 3 mares"],
        ["loh niños traen libreta", "como estás", "son eh tres mares"],
        normalise_spanish,
    )
    assert [each.words for each in found] == [
        ErrorCounts(substitutions=1, deletions=1, insertions=0, hits=3),
        ErrorCounts(substitutions=1, deletions=0, insertions=0, hits=1),
        ErrorCounts(insertions=1, hits=3),
    ]
    whole = sum_counts([each.words for each in found])
    assert whole.reference_words == 10
    assert whole.wer == pytest.approx(4 / 10)


def test_spaces_count_as_characters() -> None:
    found = score_utterances(["la mar"], ["lamas"], normalise_spanish)[0].characters
    assert found == ErrorCounts(substitutions=1, deletions=1, insertions=0, hits=4)
    assert found.wer == pytest.approx(2 / 6)


def test_only_the_orthographic_score_counts_case_and_punctuation() -> None:
    assert score_utterances(["¡Hola, Ana!"], ["hola ana"], normalise_spanish)[0].words.errors == 0
    assert score_utterances(["¡Hola, Ana!"], ["hola ana"], normalise_orthographic)[0].words.wer == pytest.approx(2 / 2)


def test_empty_texts_give_insertions_or_deletions_only() -> None:
    found = score_utterances(["", "a b", "", "[noise]"], ["", "", "x y", "x"], normalise_spanish)
    assert [each.words for each in found] == [
        ErrorCounts(),
        ErrorCounts(deletions=2),
        ErrorCounts(insertions=2),
        ErrorCounts(insertions=1),
    ]
    assert [each.words.wer for each in found] == [None, 1.0, None, None]
    assert score_utterances([], [], normalise_spanish) == []


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(EvaluationError, match="2 references and 1 hypotheses"):
        score_utterances(["a", "b"], ["a"], normalise_spanish)
    with pytest.raises(EvaluationError, match="1 references and 0 hypotheses"):
        compute_corpus_wer(["a"], [])


def test_an_alignment_lists_the_words_of_both_texts() -> None:
    assert align_words("los niños de aquí cerca", "loh niños aquí cerca eh") == [
        AlignedWord("substitute", "los", "loh"),
        AlignedWord("equal", "niños", "niños"),
        AlignedWord("delete", "de", None),
        AlignedWord("equal", "aquí", "aquí"),
        AlignedWord("equal", "cerca", "cerca"),
        AlignedWord("insert", None, "eh"),
    ]


def test_equal_words_are_matched_in_order() -> None:
    assert match_equal_words(["los", "niños", "de", "aquí"], ["los", "niño", "aquí"]) == [(0, 0), (3, 2)]
    assert match_equal_words([], ["a"]) == match_equal_words(["a"], []) == []


def test_the_second_computation_returns_the_fraction_by_hand() -> None:
    assert compute_corpus_wer(["a b c", "d"], ["a x c", "d e"]) == pytest.approx(2 / 4)
    assert compute_corpus_wer([""], ["a"]) is None
    assert compute_corpus_wer([], []) is None


@settings(max_examples=25)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=8))
def test_the_second_computation_agrees_with_the_counts(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [list(each) for each in zip(*pairs, strict=True)]
    counts = sum_counts([each.words for each in score_utterances(references, hypotheses, normalise_spanish)])
    assert compute_corpus_wer(references, hypotheses) == (None if counts.wer is None else pytest.approx(counts.wer))


@given(SENTENCES, SENTENCES)
def test_counts_add_up_to_both_texts(reference: str, hypothesis: str) -> None:
    found = score_utterances([reference], [hypothesis], normalise_spanish)[0].words
    assert found.reference_words == len(reference.split())
    assert found.hits + found.substitutions + found.insertions == len(hypothesis.split())


def random_pairs(number: int, seed: int) -> list[tuple[str, str]]:
    """Make texts of up to twelve words of a small vocabulary, so that alignments have many ties; some are empty."""
    rng = random.Random(seed)
    words = ["a", "o", "la", "los", "niño", "niños", "papá", "papa", "mar"]
    pairs = []
    for at in range(number):
        reference = rng.choices(words, k=rng.randint(0, 12))
        similar = [rng.choice(words) if rng.random() < 0.3 else word for word in reference if rng.random() < 0.8]
        hypothesis = similar if at % 3 else rng.choices(words, k=rng.randint(0, 12))
        pairs.append((" ".join(reference), " ".join(hypothesis)))
    return pairs


def jiwer_counts(alignment: list[jiwer.AlignmentChunk]) -> ErrorCounts:
    found = {"substitute": 0, "delete": 0, "insert": 0, "equal": 0}
    for chunk in alignment:
        found[chunk.type] += max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
    return ErrorCounts(found["substitute"], found["delete"], found["insert"], found["equal"])


def list_jiwer_steps(
    reference: list[str], hypothesis: list[str], alignment: list[jiwer.AlignmentChunk]
) -> list[tuple[str, str | None, str | None]]:
    return [
        (chunk.type, *pair)
        for chunk in alignment
        for pair in zip_longest(
            reference[chunk.ref_start_idx : chunk.ref_end_idx], hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        )
    ]


def test_counts_and_alignments_of_five_thousand_random_texts_equal_those_of_jiwer() -> None:
    references, hypotheses = zip(*random_pairs(5000, 1), strict=True)
    scores = score_utterances(references, hypotheses, normalise_orthographic)
    words = jiwer.process_words(list(references), list(hypotheses))
    characters = jiwer.process_characters(list(references), list(hypotheses))
    assert [each.words for each in scores] == [jiwer_counts(each) for each in words.alignments]
    assert [each.characters for each in scores] == [jiwer_counts(each) for each in characters.alignments]
    assert [
        [(step.operation, step.reference, step.hypothesis) for step in align_words(*pair)]
        for pair in zip(references, hypotheses, strict=True)
    ] == [list_jiwer_steps(*each) for each in zip(words.references, words.hypotheses, words.alignments, strict=True)]
    assert sum_counts([each.words for each in scores]).wer == pytest.approx(words.wer)
    assert sum_counts([each.characters for each in scores]).wer == pytest.approx(characters.cer)


@pytest.mark.long
def test_counts_differ_from_sclite_only_within_the_documented_bounds() -> None:
    pairs = random_pairs(5000, 2)
    scores = score_utterances([one for one, _ in pairs], [other for _, other in pairs], normalise_orthographic)
    other_parts = more_edits = 0
    for (reference, hypothesis), score in zip(pairs, scores, strict=True):
        ours = score.words
        s, d, i, h = count_sclite_edits(reference.split(), hypothesis.split())
        assert sum(count_levenshtein_edits(reference.split(), hypothesis.split())[:3]) == ours.errors
        assert ours.errors <= s + d + i <= 4 / 3 * ours.errors
        assert s + d + i <= ours.errors + (ours.substitutions - s) / 3
        assert d - i == ours.deletions - ours.insertions == len(reference.split()) - len(hypothesis.split())
        if s + d + i == ours.errors:
            moved = ours.substitutions - s
            assert 0 <= moved <= ours.substitutions
            assert moved == 2 * (d - ours.deletions) == 2 * (i - ours.insertions) == 2 * (h - ours.hits)
            other_parts += moved > 0
        else:
            more_edits += 1
    assert other_parts > 100, "the texts have ties between alignments"
    assert more_edits > 0, "sclite makes some alignments longer"


def test_sclite_counts_more_edits_in_an_example_by_hand() -> None:
    reference, hypothesis = "a b c d e", "x y z a b"
    assert score_utterances([reference], [hypothesis], normalise_spanish)[0].words == ErrorCounts(substitutions=5)
    assert count_sclite_edits(reference.split(), hypothesis.split()) == (0, 3, 3, 2)


def test_a_text_of_markers_is_empty_after_the_spanish_normaliser_only() -> None:
    marked, spoken = "[ruido] <risas> ¿…?", "hola"
    assert score_utterances([marked, marked, spoken], ["", spoken, marked], normalise_spanish)[0].words == ErrorCounts()
    assert score_utterances([marked], [spoken], normalise_spanish)[0].words == ErrorCounts(insertions=1)
    assert score_utterances([marked], [spoken], normalise_spanish)[0].characters == ErrorCounts(insertions=4)
    assert score_utterances([spoken], [marked], normalise_spanish)[0].words == ErrorCounts(deletions=1)
    assert score_utterances([marked], [""], normalise_orthographic)[0].words == ErrorCounts(deletions=3)


@pytest.mark.slow
def test_the_evaluate_metric_agrees_without_a_network_and_a_comparison_imports_no_heavy_library() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a): raise OSError('no network')\n"
        "socket.socket.connect = refuse\n"
        "from habla_ml.evaluation.scoring.alignment import compute_corpus_wer\n"
        "import habla_ml.evaluation.comparison.compare, habla_ml.evaluation.promotion.rule, habla_ml.evaluation.report\n"
        "heavy = {'torch', 'evaluate', 'datasets', 'faster_whisper', 'ctranslate2', 'matplotlib', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert compute_corpus_wer(['a b'], ['a']) == 0.5\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "import evaluate, habla_ml.evaluation.scoring as scoring\n"
        "metric = evaluate.load(scoring.__path__[0] + '/habla_wer', keep_in_memory=True)\n"
        "found = metric.compute(references=['a b c', 'd', ''], predictions=['a x c', 'd e', 'f'])\n"
        "counts = {'substitutions': 1, 'deletions': 0, 'insertions': 2, 'hits': 3}\n"
        "assert found == {'wer': 0.75, **counts}, found\n"
        "assert compute_corpus_wer(['a b c', 'd', ''], ['a x c', 'd e', 'f']) == 0.75\n"
        "assert metric.compute(references=[''], predictions=['a'])['wer'] is None\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
