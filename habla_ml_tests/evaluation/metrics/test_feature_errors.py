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
        find_dialect_features([said for said, _ in pairs]), [align_words(said, heard) for said, heard in pairs]
    )


def of(counts: FeatureCounts, kind: DialectFeature) -> tuple[int, int, int, int, int]:
    """Site words, site errors, other words, other errors, explained; over all utterances."""
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


def test_errors_are_counted_at_sites_and_elsewhere_as_by_hand() -> None:
    counts = count_pair_features([("los niños comen pan", "lo niño beben pan"), ("dos gatos", "dos gatos")])
    # los, dos stand before a consonant: 1 of 2 wrong; comen and pan are among the 4 others, of which 2 are wrong.
    assert of(counts, "final_s_before_consonant") == (3, 2, 3, 1, 2)
    assert of(counts, "final_s_before_pause") == (1, 0, 5, 3, 0)
    assert counts.feature_words.shape == (2, len(DIALECT_FEATURES))


def test_deleted_words_are_errors_and_inserted_ones_belong_to_no_site() -> None:
    assert of(count_pair_features([("pollo frito", "frito")]), "yeismo") == (1, 1, 1, 0, 0)
    assert of(count_pair_features([("pollo frito", "el pollo muy frito")]), "yeismo") == (1, 0, 1, 0, 0)
    assert of(count_pair_features([("pollo frito", "")]), "yeismo") == (1, 1, 1, 1, 0)
    assert of(count_pair_features([("", "pollo")]), "yeismo") == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("said", "heard", "kinds"),
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
def test_an_error_is_explained_where_nothing_but_the_dialect_is_in_it(said: str, heard: str, kinds: set[str]) -> None:
    counts = count_pair_features([(said, heard)])
    assert {kind for kind in DIALECT_FEATURES if of(counts, kind)[4]} == kinds


@pytest.mark.parametrize(
    ("said", "heard", "explained"),
    [
        ("para ahora", "paora", 2),
        ("para ahora", "parahora", 2),
        ("la agenda", "lagenda", 2),
        ("la agenda", "la", 0),
        ("la agenda", "perro", 0),
        ("la agenda", "l agenda", 1),
    ],
)
def test_two_words_heard_as_one_are_explained_by_their_vowels(said: str, heard: str, explained: int) -> None:
    assert of(count_pair_features([(said, heard)]), "vowel_contact")[4] == explained


def test_a_long_word_of_one_letter_is_read_at_once() -> None:
    assert of(count_pair_features([("s" * 300, "s" * 200 + "t")]), "s_before_consonant")[1] == 1


def test_an_alignment_of_another_sentence_is_refused() -> None:
    with pytest.raises(EvaluationError, match="2 words is not of the sentence with 1 words"):
        count_feature_errors(find_dialect_features(["hola"]), [align_words("hola ana", "hola")])
    with pytest.raises(EvaluationError, match="1 sentences and 0 alignments"):
        count_feature_errors(find_dialect_features(["hola"]), [])


def score_two_models() -> dict[str, FeatureScore]:
    said = [f"los niños {name} pan" for name in ("comen", "cortan", "quieren")] * 8
    sessions = [f"session-{at % 6}" for at in range(len(said))]
    base = [each.replace("los niños", "lo niño") for each in said]
    better = [each if at % 2 else old for at, (each, old) in enumerate(zip(said, base, strict=True))]
    sites = find_dialect_features(said)
    counts = [count_feature_errors(sites, [align_words(*pair) for pair in zip(said, heard, strict=True)])
              for heard in (base, better)]  # fmt: skip
    found = score_dialect_features(["base", "v1"], counts, sessions, Draws.of(sessions, 1000, 1), base=0, candidate=1)
    return {each.feature: each for each in found}


def test_scores_hold_rates_at_sites_and_elsewhere_with_the_gain_of_the_candidate() -> None:
    score = score_two_models()["final_s_before_consonant"]
    base, better = score.rates
    assert (score.words, score.words_elsewhere, score.sessions) == (48, 48, 6)
    assert base.rate is not None
    assert base.elsewhere is not None
    assert (base.rate.value, base.elsewhere.value) == (1.0, 0.0)
    assert base.explained_share == 1.0
    assert better.rate is not None
    assert better.rate.value == pytest.approx(0.5)
    assert better.rate.low < 0.5 < better.rate.high
    assert score.improvement is not None
    assert score.improvement.value == pytest.approx(0.5)
    assert FeatureScore.model_validate_json(score.model_dump_json()) == score


def test_phenomena_that_do_not_occur_have_no_score() -> None:
    assert "yeismo" not in score_two_models()
    assert score_dialect_features(["base"], [count_pair_features([])], [], Draws.of([], 100, 1)) == ()
