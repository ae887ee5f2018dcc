from __future__ import annotations

import time

import numpy as np
import pytest

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.metrics.confusions import (
    Confusion,
    ConfusionCounts,
    ModelConfusions,
    count_confusions,
    find_confused_phonemes,
    list_phonemes,
    tabulate_confusions,
)
from habla_ml.evaluation.metrics.dialect_features import find_dialect_features
from habla_ml.evaluation.metrics.domain_vocabulary import DomainVocabulary
from habla_ml.evaluation.metrics.feature_errors import count_feature_errors
from habla_ml.evaluation.metrics.term_recall import count_terms
from habla_ml.evaluation.scoring.alignment import align_words
from habla_ml.evaluation.scoring.normalisation import normalise_spanish


def count_pair_confusions(pairs: list[tuple[str, str]]) -> ConfusionCounts:
    return count_confusions([f"seg-{at}" for at in range(len(pairs))], [align_words(*pair) for pair in pairs])


@pytest.mark.parametrize(
    ("word", "sounds"),
    [
        ("llueve", "ll u e b e"), ("queso", "k e s o"), ("guerra", "g e rr a"), ("gente", "j e n t e"),
        ("cielo", "z i e l o"), ("casa", "k a s a"), ("hecho", "e ch o"), ("examen", "e k s a m e n"),
        ("pingüino", "p i n g u i n o"), ("rey", "rr e i"), ("yo", "y o"), ("niño", "n i ñ o"), ("honra", "o n rr a"),
        ("acción", "a k z i o n"), ("kilo", "k i l o"), ("pero", "p e r o"),
    ],
)  # fmt: skip
def test_the_spelling_gives_the_sounds(word: str, sounds: str) -> None:
    assert list_phonemes(word) == tuple(sounds.split())


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("niños", "niño", [("s", "")]),
        ("gracias", "grasias", [("z", "s")]),
        ("pollo", "poyo", [("ll", "y")]),
        ("cansado", "cansao", [("d", "")]),
        ("lápiz", "lapi", [("z", "")]),
        ("niño", "niños", [("", "s")]),
        ("vaca", "baca", []),
        ("verdad", "verdá", [("d", "")]),
        ("ha", "han", [("", "n")]),
        ("casa", "perro", []),
        ("experimento", "perímetro", []),
        ("y", "a", []),
    ],
)
def test_different_sounds_of_similar_words_are_listed(
    reference: str, hypothesis: str, expected: list[tuple[str, str]]
) -> None:
    assert find_confused_phonemes(reference, hypothesis) == expected


def test_confusion_counts_equal_those_by_hand_and_have_an_example() -> None:
    counts = count_pair_confusions(
        [("los niños comen", "lo niño comen"), ("los gatos", "lo gatos eh"), ("hola ana", "ana"), ("los", "los")]
    )
    assert counts.words == {("los", "lo"): 2, ("niños", "niño"): 1, ("", "eh"): 1, ("hola", ""): 1}
    assert counts.example_segment_of["los", "lo"] == "seg-0"
    assert counts.phonemes == {("s", ""): 3}
    assert counts.example_words_of["s", ""] == ("los", "lo")


def test_the_table_is_ordered_by_count_and_has_the_counts_of_the_base() -> None:
    references = ["los niños", "los pollos", "gracias"]
    base = count_pair_confusions(list(zip(references, ["lo niño", "lo poyo", "grasias"], strict=True)))
    better = count_pair_confusions(list(zip(references, ["los niños", "lo pollos", "gracia"], strict=True)))
    old, new = tabulate_confusions(["base", "v1"], [base, better], base=0)
    assert old.words[0] == Confusion(
        reference_token="los", hypothesis_token="lo", count=2, base_count=None, segment_id="seg-0"
    )
    assert old.reduced == ()
    assert [(each.reference_token, each.hypothesis_token, each.count, each.base_count) for each in new.words] == [
        ("gracias", "gracia", 1, 0),
        ("los", "lo", 1, 2),
    ]
    assert [(each.reference_token, each.hypothesis_token, each.count, each.base_count) for each in new.phonemes] == [
        ("s", "", 2, 4)
    ]
    assert new.phonemes[0].words == ("los", "lo")
    assert {(each.reference_token, each.count, each.base_count) for each in new.reduced} == {
        ("los", 1, 2), ("niños", 0, 1), ("pollos", 0, 1), ("gracias", 0, 1)
    }  # fmt: skip
    assert ModelConfusions.model_validate_json(new.model_dump_json()) == new


def test_one_alignment_is_required_for_each_segment() -> None:
    with pytest.raises(EvaluationError, match="1 segments and 0 alignments"):
        count_confusions(["a"], [])
    assert tabulate_confusions([], []) == ()


@pytest.mark.slow
def test_a_hundred_thousand_words_take_seconds() -> None:
    rng = np.random.default_rng(0)
    words = sorted(
        normalise_spanish("los niños cansados comen pollo, gracias, para ahora la agenda está desde la escuela").split()
    )
    references = [" ".join(rng.choice(words, 8)) for _ in range(12_500)]
    hypotheses = [each.replace("os ", "o ").replace("ll", "y").replace("c", "s") for each in references]
    started = time.perf_counter()
    alignments = [align_words(*pair) for pair in zip(references, hypotheses, strict=True)]
    aligned = time.perf_counter()
    count_feature_errors(find_dialect_features(references), alignments)
    annotated = time.perf_counter()
    count_confusions(references, alignments)
    count_terms(DomainVocabulary.of([("pollo",), ("la", "escuela")]), alignments)
    done = time.perf_counter()
    print(f"align {aligned - started:.1f} s, features {annotated - aligned:.1f} s, rest {done - annotated:.1f} s")
    assert done - aligned < 20
