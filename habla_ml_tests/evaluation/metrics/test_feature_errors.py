from __future__ import annotations

import pytest

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.metrics.dialect_features import DIALECT_FEATURES, DialectFeature, find_dialect_features
from habla_ml.evaluation.metrics.feature_errors import (
    FeatureCounts,
    FeatureScore,
    count_feature_errors,
    score_dialect_features,
)
from habla_ml.evaluation.scoring.alignment import align_words
from habla_ml.evaluation.scoring.statistics import Draws


def count_pair_features(pairs: list[tuple[str, str]]) -> FeatureCounts:
    return count_feature_errors(
        find_dialect_features([reference for reference, _ in pairs]), [align_words(*pair) for pair in pairs]
    )


def of(counts: FeatureCounts, kind: DialectFeature) -> tuple[int, int, int, int, int]:
    """Return the sums of words and errors with the feature, words and errors without it, and explained errors."""
    at = DIALECT_FEATURES.index(kind)
    return tuple(
        int(part[:, at].sum())
        for part in (
            counts.feature_words,
            counts.feature_errors,
            counts.other_words,
            counts.other_errors,
            counts.explained,
        )
    )


def test_errors_at_features_and_elsewhere_equal_those_by_hand() -> None:
    counts = count_pair_features([("los niños comen pan", "lo niño beben pan"), ("dos gatos", "dos gatos")])
    assert of(counts, "final_s_before_consonant") == (3, 2, 3, 1, 2)
    assert of(counts, "final_s_before_pause") == (1, 0, 5, 3, 0)
    assert counts.feature_words.shape == (2, len(DIALECT_FEATURES))


def test_deleted_words_are_errors_and_inserted_words_have_no_feature() -> None:
    assert of(count_pair_features([("pollo frito", "frito")]), "yeismo") == (1, 1, 1, 0, 0)
    assert of(count_pair_features([("pollo frito", "el pollo muy frito")]), "yeismo") == (1, 0, 1, 0, 0)
    assert of(count_pair_features([("pollo frito", "")]), "yeismo") == (1, 1, 1, 1, 0)
    assert of(count_pair_features([("", "pollo")]), "yeismo") == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "kinds"),
    [
        ("niños", "niño", {"final_s_before_pause"}),
        ("gracias", "grasias", {"seseo"}),
        ("gracias", "grasia", {"seseo", "final_s_before_pause"}),
        ("pollo", "poyo", {"yeismo"}),
        ("casa", "caza", {"ceceo"}),
        ("cansado", "cansao", {"participle_d"}),
        ("cansada", "cansá", {"participle_d"}),
        ("cansadas", "cansá", {"participle_d", "final_s_before_pause"}),
        ("todo", "to", {"intervocalic_d"}),
        ("desde", "dehde", {"s_before_consonant"}),
        ("verdad", "verdá", {"final_consonant"}),
        ("alto", "arto", {"l_before_consonant"}),
        ("doctor", "dotó", {"learned_cluster", "final_consonant"}),
        ("mejor", "mehor", {"jota"}),
        ("muchacho", "mushasho", {"che"}),
        ("para", "pa", {"para"}),
        ("niños", "niñas", set()),
        ("niños", "ni", set()),
        ("papá", "papa", set()),
        ("casa", "casas", set()),
    ],
)
def test_an_error_is_explained_if_features_alone_turn_the_word_into_the_hypothesis(
    reference: str, hypothesis: str, kinds: set[str]
) -> None:
    counts = count_pair_features([(reference, hypothesis)])
    assert {kind for kind in DIALECT_FEATURES if of(counts, kind)[4]} == kinds


@pytest.mark.parametrize(
    ("reference", "hypothesis", "explained"),
    [
        ("para ahora", "paora", 2),
        ("para ahora", "parahora", 2),
        ("la agenda", "lagenda", 2),
        ("la agenda", "la", 0),
        ("la agenda", "perro", 0),
        ("la agenda", "l agenda", 1),
    ],
)
def test_a_contraction_of_two_words_is_explained_by_vowel_contact(
    reference: str, hypothesis: str, explained: int
) -> None:
    assert of(count_pair_features([(reference, hypothesis)]), "vowel_contact")[4] == explained


@pytest.mark.long
def test_a_long_word_of_one_letter_is_matched_quickly() -> None:
    assert of(count_pair_features([("s" * 300, "s" * 200 + "t")]), "s_before_consonant")[1] == 1


def test_an_alignment_of_another_sentence_is_refused() -> None:
    with pytest.raises(EvaluationError, match="2 words does not belong to its sentence of 1 words"):
        count_feature_errors(find_dialect_features(["hola"]), [align_words("hola ana", "hola")])
    with pytest.raises(EvaluationError, match="1 sentences and 0 alignments"):
        count_feature_errors(find_dialect_features(["hola"]), [])


def score_two_models() -> dict[str, FeatureScore]:
    references = [f"los niños {name} pan" for name in ("comen", "cortan", "quieren")] * 8
    sessions = [f"session-{at % 6}" for at in range(len(references))]
    base = [each.replace("los niños", "lo niño") for each in references]
    better = [each if at % 2 else old for at, (each, old) in enumerate(zip(references, base, strict=True))]
    annotated = find_dialect_features(references)
    counts = [count_feature_errors(annotated, [align_words(*pair) for pair in zip(references, hypotheses, strict=True)])
              for hypotheses in (base, better)]  # fmt: skip
    found = score_dialect_features(["base", "v1"], counts, sessions, Draws.of(sessions, 1000, 1), base=0, candidate=1)
    return {each.feature: each for each in found}


def test_scores_have_rates_at_features_and_elsewhere_and_the_improvement_of_the_candidate() -> None:
    score = score_two_models()["final_s_before_consonant"]
    base, better = score.rates
    assert (score.words, score.words_elsewhere, score.sessions) == (48, 48, 6)
    assert base.rate is not None
    assert base.elsewhere is not None
    assert (base.rate.value, base.elsewhere.value) == (1.0, 0.0)
    assert base.explained == base.errors == 48
    assert better.rate is not None
    assert better.rate.value == pytest.approx(0.5)
    assert better.rate.low < 0.5 < better.rate.high
    assert score.improvement is not None
    assert score.improvement.value == pytest.approx(0.5)
    assert FeatureScore.model_validate_json(score.model_dump_json()) == score


def test_features_that_do_not_occur_have_no_score() -> None:
    assert "yeismo" not in score_two_models()
    assert score_dialect_features(["base"], [count_pair_features([])], [], Draws.of([], 100, 1)) == ()
