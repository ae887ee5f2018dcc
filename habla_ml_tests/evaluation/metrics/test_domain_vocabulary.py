from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from habla_ml.demo.grammar import SpeechRegister, generate_sentence
from habla_ml.errors import EvaluationError, SettingsError
from habla_ml.evaluation.metrics.domain_vocabulary import (
    DomainVocabulary,
    find_corpus_terms,
    read_terms,
)
from habla_ml.evaluation.metrics.term_recall import TermCounts, VocabularyScore, count_terms, score_vocabulary
from habla_ml.evaluation.scoring.alignment import align_words
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.statistics import Draws
from habla_ml.settings.models import CorpusWordSettings

CLASSROOM = Path(__file__).parents[3] / "configs" / "vocabulary" / "classroom.txt"
LIMITS = CorpusWordSettings()
TERMS = DomainVocabulary.of([("raíz", "cuadrada"), ("raíz",), ("pizarra",), ("sistema", "solar")])


def count_pairs(*pairs: tuple[str, str]) -> TermCounts:
    return count_terms(TERMS, [align_words(*pair) for pair in pairs])


def totals(counts: TermCounts) -> tuple[int, int, int, int]:
    return tuple(
        int(part.sum())
        for part in (counts.reference_count, counts.recalled, counts.hypothesis_count, counts.correct_count)
    )


def test_counts_of_terms_of_one_and_two_words_equal_those_by_hand() -> None:
    counts = count_pairs(
        ("la raíz cuadrada en la pizarra", "la raíz cuadrada en la pisarra"),
        ("la raíz del sistema solar", "la raíz del sistema sola"),
        ("borra eso", "borra la pizarra"),
    )
    assert counts.reference_count.tolist() == [2, 2, 0]
    assert counts.recalled.tolist() == [1, 1, 0]
    assert counts.hypothesis_count.tolist() == [1, 1, 1]
    assert counts.correct_count.tolist() == [1, 1, 0]
    assert counts.inserted_count_of == {("raíz", "cuadrada"): 0, ("raíz",): 0, ("pizarra",): 1}


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        (
            "raíz cuadrada",
            "raíz muy cuadrada",
            (1, 0, 1, 1),
        ),  # `raíz` alone is a term in the hypothesis, and correct
        ("pizarra uno dos tres", "uno dos tres pizarra", (1, 0, 1, 0)),
        ("pizarra", "", (1, 0, 0, 0)),
        ("", "pizarra", (0, 0, 1, 0)),
        ("pizarra pizarra", "pizarra", (2, 1, 1, 1)),
    ],
)
def test_a_term_counts_only_at_its_place(reference: str, hypothesis: str, expected: tuple[int, ...]) -> None:
    assert totals(count_pairs((reference, hypothesis))) == expected


def test_recall_and_precision_have_intervals_and_the_worst_terms_are_listed_first() -> None:
    references = ["la raíz cuadrada en la pizarra"] * 12
    sessions = [f"session-{at % 4}" for at in range(12)]
    base = ["la ra cuadrada en la pizarra"] * 12
    better = [text if at % 3 else "la raíz cuadrada en la pizarra" for at, text in enumerate(base)]
    counts = [count_terms(TERMS, [align_words(*pair) for pair in zip(references, texts, strict=True)])
              for texts in (base, better)]  # fmt: skip
    score, recall = score_vocabulary(TERMS, ["base", "v1"], counts, Draws.of(sessions, 500, 1))
    old, new = score.models
    assert (score.terms, score.reference_terms, score.reference_count) == (4, 2, 24)
    assert old.recall is not None
    assert new.recall is not None
    assert old.recall.value == pytest.approx(12 / 24)
    assert new.recall.value == pytest.approx(16 / 24)
    assert new.recall.low <= new.recall.value <= new.recall.high
    assert old.precision is not None
    assert old.precision.value == 1.0
    assert [each.term for each in old.worst] == ["raíz cuadrada"]
    assert (old.worst[0].reference_count, old.worst[0].recalled) == (12, 0)
    change = recall.point_change(0, 1)
    assert change is not None
    assert change.value == pytest.approx(100 * 4 / 24)
    assert VocabularyScore.model_validate_json(score.model_dump_json()) == score


def test_without_terms_there_is_no_recall() -> None:
    score, _ = score_vocabulary(TERMS, ["base"], [count_pairs(("hola", "hola"))], Draws.of(["a"], 100, 1))
    assert score.models[0].recall is None
    assert score.models[0].precision is None
    with pytest.raises(EvaluationError, match="no model"):
        score_vocabulary(TERMS, [], [], Draws.of([], 100, 1))


def test_a_list_of_terms_is_normalised_and_has_no_repetitions(tmp_path: Path) -> None:
    terms = read_terms(CLASSROOM)
    assert ("mínimo", "común", "múltiplo") in terms
    assert ("guadalquivir",) in terms
    assert len(terms) == len(set(terms)) > 100
    own = tmp_path / "own.txt"
    own.write_text("# mine\n\n¡Pizarra!\npizarra  # again\nSistema  Solar\n", "utf-8")
    assert read_terms(own) == (("pizarra",), ("sistema", "solar"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_terms_are_read_in_the_encodings_of_windows(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "terms.txt"
    path.write_bytes("lápiz\r\nsistema solar # ñ\r\n".encode(encoding))
    assert read_terms(path) == (("lápiz",), ("sistema", "solar"))


def test_errors_name_a_line_without_a_word_and_a_missing_file(tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("pizarra\n---\n", "utf-8")
    with pytest.raises(SettingsError, match=r"bad\.txt, line 2: '---' has no word"):
        read_terms(bad)
    with pytest.raises(SettingsError, match=r"gone\.txt cannot be read"):
        read_terms(tmp_path / "gone.txt")


@pytest.mark.slow
def test_words_that_are_frequent_in_the_corpus_and_rare_in_spanish_are_terms() -> None:
    rng = np.random.default_rng(0)
    sentences = [
        generate_sentence(SpeechRegister.TEACHER if at % 2 else SpeechRegister.STUDENT, rng) for at in range(1500)
    ]
    words = {term[0] for term in find_corpus_terms(sentences, LIMITS)}
    assert {"bolígrafo", "perímetro", "calculadora", "seño"} <= words
    assert not words & {"casa", "libro", "mañana", "veinticuatro", "porque"}
    counts = [sum(word in normalise_spanish(each).split() for each in sentences) for word in words]
    assert min(counts) >= 5
    assert len(find_corpus_terms(sentences, CorpusWordSettings(fewest=1, zipf_below=8.0, most=7))) == 7
    assert find_corpus_terms([], LIMITS) == ()
