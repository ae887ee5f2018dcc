import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.normalise import orthographic, spanish
from habla_ml.evaluation.scoring import AlignedWord, ErrorCounts, align_words, corpus_wer, score_utterances, total

SENTENCES = st.lists(st.sampled_from(["los", "niños", "traen", "la", "libreta"]), max_size=6).map(" ".join)


def test_counts_are_those_worked_out_by_hand() -> None:
    found = score_utterances(
        ["Los niños traen la libreta.", "¿Cómo estás?", "Son 3 mares"],
        ["loh niños traen libreta", "como estás", "son eh tres mares"],
        spanish,
    )
    assert [each.words for each in found] == [
        ErrorCounts(substitutions=1, deletions=1, insertions=0, hits=3),
        ErrorCounts(substitutions=1, deletions=0, insertions=0, hits=1),
        ErrorCounts(insertions=1, hits=3),
    ]
    whole = total([each.words for each in found])
    assert whole.reference_words == 10
    assert whole.wer == pytest.approx(4 / 10)


def test_characters_are_counted_with_their_spaces() -> None:
    found = score_utterances(["la mar"], ["lamas"], spanish)[0].characters
    assert found == ErrorCounts(substitutions=1, deletions=1, insertions=0, hits=4)
    assert found.wer == pytest.approx(2 / 6)


def test_what_is_written_counts_only_in_the_orthographic_score() -> None:
    assert score_utterances(["¡Hola, Ana!"], ["hola ana"], spanish)[0].words.errors == 0
    assert score_utterances(["¡Hola, Ana!"], ["hola ana"], orthographic)[0].words.wer == pytest.approx(2 / 2)


def test_empty_texts_are_defined() -> None:
    found = score_utterances(["", "a b", "", "[noise]"], ["", "", "x y", "x"], spanish)
    assert [each.words for each in found] == [
        ErrorCounts(),
        ErrorCounts(deletions=2),
        ErrorCounts(insertions=2),
        ErrorCounts(insertions=1),
    ]
    assert [each.words.wer for each in found] == [None, 1.0, None, None]
    assert score_utterances([], [], spanish) == []


def test_unequal_lists_are_refused() -> None:
    with pytest.raises(EvaluationError, match="2 references and 1 hypotheses"):
        score_utterances(["a", "b"], ["a"], spanish)
    with pytest.raises(EvaluationError, match="1 references and 0 hypotheses"):
        corpus_wer(["a"], [])


def test_an_alignment_names_the_words() -> None:
    assert align_words("los niños de aquí cerca", "loh niños aquí cerca eh") == [
        AlignedWord("substitute", "los", "loh"),
        AlignedWord("equal", "niños", "niños"),
        AlignedWord("delete", "de", None),
        AlignedWord("equal", "aquí", "aquí"),
        AlignedWord("equal", "cerca", "cerca"),
        AlignedWord("insert", None, "eh"),
    ]


def test_the_evaluate_metric_gives_the_fraction_worked_out_by_hand() -> None:
    assert corpus_wer(["a b c", "d"], ["a x c", "d e"]) == pytest.approx(2 / 4)
    assert corpus_wer([""], ["a"]) is None
    assert corpus_wer([], []) is None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=8))
def test_the_evaluate_metric_agrees_with_the_counts(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [list(each) for each in zip(*pairs, strict=True)]
    counts = total([each.words for each in score_utterances(references, hypotheses, spanish)])
    assert corpus_wer(references, hypotheses) == (None if counts.wer is None else pytest.approx(counts.wer))


@given(SENTENCES, SENTENCES)
def test_counts_add_up_to_both_texts(reference: str, hypothesis: str) -> None:
    found = score_utterances([reference], [hypothesis], spanish)[0].words
    assert found.reference_words == len(reference.split())
    assert found.hits + found.substitutions + found.insertions == len(hypothesis.split())


def test_the_metric_needs_no_network_and_no_heavy_import_until_it_is_asked() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a): raise OSError('no network')\n"
        "socket.socket.connect = refuse\n"
        "from habla_ml.evaluation.scoring import corpus_wer\n"
        "import habla_ml.evaluation.compare, habla_ml.evaluation.promotion, habla_ml.evaluation.report\n"
        "heavy = {'torch', 'evaluate', 'datasets', 'faster_whisper', 'ctranslate2', 'matplotlib', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert corpus_wer(['a b'], ['a']) == 0.5\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
