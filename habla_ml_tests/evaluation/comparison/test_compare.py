import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.compare import compare_decoded_models
from habla_ml.evaluation.comparison.records import DecodingFailures, Slice, read_comparison
from habla_ml.evaluation.metrics.inputs import DecodedModel, OptionalMeasurements, Reference
from habla_ml.evaluation.scoring.alignment import sum_counts
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.simulated_hypotheses import (
    TEST_PROVENANCE,
    TEST_SETTINGS,
    make_comparison,
    make_utterance,
    make_utterances,
    simulate_hypotheses,
)

PAIR = [
    make_utterance("s1", "a", "Los niños traen la libreta.", loudness_dbfs=-40.0),
    make_utterance("s2", "b", "Hola, Ana.", speaker="SPEAKER_00"),
]


def make_texts(utterances, texts, failure=None):
    return [
        Hypothesis(each.audio_sha256, text, 0.5, each.duration_s, failure)
        for each, text in zip(utterances, texts, strict=True)
    ]


def compare_pair(base, candidate):
    return compare_decoded_models(
        PAIR,
        [
            DecodedModel("v1", "candidate", "2" * 64, DecodingOptions(), make_texts(PAIR, candidate)),
            DecodedModel("base", "base", "1" * 64, DecodingOptions(), make_texts(PAIR, base)),
        ],
        TEST_SETTINGS,
        TEST_PROVENANCE,
    )


def test_figures_equal_those_computed_by_hand() -> None:
    found = compare_pair(["loh niño traen libreta", "hola ana"], ["los niños traen la libreta", "hola hola ana"])
    base, candidate = found.models
    assert (base.name, candidate.name) == ("base", "v1")
    assert base.wer.value == pytest.approx(3 / 7)
    assert (base.wer.counts.substitutions, base.wer.counts.deletions, base.wer.counts.insertions) == (2, 1, 0)
    assert candidate.wer.value == pytest.approx(1 / 7)
    assert base.metrics["orthographic_wer"].value == pytest.approx(6 / 7)
    change = found.change("base")
    assert change is not None
    assert change.relative_improvement is not None
    assert change.points is not None
    assert change.relative_improvement.value == pytest.approx(2 / 3)
    assert change.points.value == pytest.approx(100 * (1 - 3) / 7)
    for name in ("orthographic_wer", "cer"):
        difference = candidate.metrics[name].value - base.metrics[name].value
        assert change.metrics[name].value == pytest.approx(100 * difference)
    assert "real_time_factor_p50" not in base.metrics, "nothing was timed"
    assert (found.test.words, found.test.sessions, found.test.utterances) == (7, 2, 2)


def test_a_model_that_writes_digits_differs_from_its_twin_in_the_text_as_written_only() -> None:
    spoken = [
        "Son las tres y cuarto del quince de marzo.",
        "Tengo veintiún euros con cincuenta, señora Ruiz.",
        "Y tú no.",
    ]
    digits = ["Son las 3:15 del 15 de marzo.", "Tengo 21,50 €, Sra. Ruiz.", "Y tú sí."]
    utterances = [make_utterance(f"s{at}", f"u{at}", text) for at, text in enumerate(spoken)]
    models = [
        DecodedModel("base", "base", "1" * 64, DecodingOptions(), make_texts(utterances, digits)),
        DecodedModel("v1", "candidate", "2" * 64, DecodingOptions(), make_texts(utterances, [*spoken[:2], digits[2]])),
    ]
    found = compare_decoded_models(utterances, models, TEST_SETTINGS, TEST_PROVENANCE)
    base, candidate = found.models
    assert base.wer.counts == candidate.wer.counts
    assert base.wer.counts.errors == 1
    assert base.metrics["cer"].value == candidate.metrics["cer"].value
    assert base.metrics["orthographic_wer"].value > candidate.metrics["orthographic_wer"].value
    assert found.change("base").points.value == 0
    assert [[(each.reference_token, each.hypothesis_token) for each in row.words] for row in found.confusions] == [
        [("no", "sí")],
        [("no", "sí")],
    ]


def test_every_slice_dimension_divides_the_whole_set() -> None:
    found = make_comparison(make_utterances(6, 12), {"base": 0.4, "candidate": 0.2})
    whole = next(each for each in found.slices if each.dimension == "overall")
    assert whole.rates[0].rate == found.models[0].wer
    for dimension, members in itertools.groupby(found.slices, key=lambda each: each.dimension):
        parts = list(members)
        assert sum(each.utterances for each in parts) == 72, dimension
        assert sum(each.words for each in parts) == whole.words
        for at, model in enumerate(found.models):
            assert sum_counts([each.rates[at].rate.counts for each in parts]) == model.wer.counts


def find_slice(slices: tuple[Slice, ...], name: str) -> Slice:
    return next(each for each in slices if each.name == name)


def test_the_bound_separates_quiet_from_normal_speech() -> None:
    found = compare_pair(["x", "hola ana"], ["x", "hola ana"])
    assert find_slice(found.slices, "quiet (below -35 dBFS)").rates[0].rate.counts.errors == 5
    assert find_slice(found.slices, "normal (from -35 dBFS)").rates[0].rate.counts.errors == 0


def test_a_label_of_one_session_is_never_joined_with_another_session() -> None:
    keys = {
        label: Reference.of(make_utterance("s", "monday", "hola", speaker=label)).speaker_key
        for label in ("SPEAKER_00", "Speaker A", "2", "", "B", "Ana", "Profe Luis")
    }
    assert keys["Ana"] == "Ana"
    assert keys["Profe Luis"] == "Profe Luis"
    assert all(keys[label].startswith("monday · ") for label in ("SPEAKER_00", "Speaker A", "2", "", "B"))


def test_small_slices_have_a_reason() -> None:
    found = make_comparison(make_utterances(6, 12), {"base": 0.4, "candidate": 0.2})
    assert find_slice(found.slices, "session-000 · SPEAKER_00").too_small == "too small: 1 of the required 3 sessions"
    assert find_slice(found.slices, "Ana").too_small is None
    strict = TEST_SETTINGS.model_copy(update={"smallest_slice_words": 10_000})
    wordy = make_comparison(make_utterances(6, 12), {"base": 0.4, "candidate": 0.2}, settings=strict)
    assert "of the required 10000 words" in str(find_slice(wordy.slices, "Ana").too_small)


def test_a_single_session_has_an_interval_with_width() -> None:
    found = make_comparison(make_utterances(1, 20), {"base": 0.4, "candidate": 0.2})
    interval = found.models[0].wer.interval
    assert interval is not None
    assert interval.low < interval.value < interval.high


def test_stored_evidence_reads_back_equal_and_an_old_format_is_refused() -> None:
    found = make_comparison(
        make_utterances(3, 6),
        {"base": 0.4, "previous": 0.3, "candidate": 0.2},
        {"base": 0.1, "previous": 0.1, "candidate": 0.1},
    )
    again = read_comparison(found.to_json())
    assert again == found
    assert again.digest() == found.digest()
    with pytest.raises(EvaluationError, match=r"habla_ml\.comparison/4"):
        read_comparison(found.to_json().replace("habla_ml.comparison/4", "habla_ml.comparison/3"))
    with pytest.raises(EvaluationError, match="evaluate the model version again"):
        read_comparison(b"{}")


def test_the_test_sets_digest_changes_with_a_sentence_and_not_with_the_order() -> None:
    utterances = make_utterances(3, 4)
    digest = make_comparison(utterances, {"base": 0.4}).test.digest
    assert make_comparison(utterances[::-1], {"base": 0.4}).test.digest == digest
    corrected = [replace(utterances[0], sentence="Otra frase."), *utterances[1:]]
    assert make_comparison(corrected, {"base": 0.4}).test.digest != digest


def test_scores_do_not_depend_on_the_order_of_utterances() -> None:
    utterances = make_utterances(4, 5)
    hypotheses = simulate_hypotheses(utterances, 0.3, 1)
    evaluated = [DecodedModel("base", "base", "1" * 64, DecodingOptions(), hypotheses)]
    forth = compare_decoded_models(utterances, evaluated, TEST_SETTINGS, TEST_PROVENANCE)
    back = compare_decoded_models(utterances[::-1], evaluated, TEST_SETTINGS, TEST_PROVENANCE)
    assert forth.models == back.models


def test_a_failure_is_scored_as_an_empty_text_and_counted() -> None:
    broken = [*make_texts(PAIR[:1], [""], failure="audio"), *make_texts(PAIR[1:], ["hola ana"])]
    found = compare_decoded_models(
        PAIR, [DecodedModel("base", "base", "1" * 64, DecodingOptions(), broken)], TEST_SETTINGS, TEST_PROVENANCE
    )
    assert found.models[0].failures == DecodingFailures(audio=1)
    assert found.models[0].wer.counts.deletions == 5


def test_a_missing_hypothesis_and_two_models_with_one_name_are_refused() -> None:
    half = [DecodedModel("base", "base", "1" * 64, DecodingOptions(), make_texts(PAIR[:1], ["hola"]))]
    with pytest.raises(EvaluationError, match="base has no hypothesis for 1 of 2 utterances, the first is s2"):
        compare_decoded_models(PAIR, half, TEST_SETTINGS, TEST_PROVENANCE)
    with pytest.raises(EvaluationError, match="two models share a name"):
        compare_decoded_models(
            PAIR,
            [
                DecodedModel("base", "base", "1" * 64, DecodingOptions(), make_texts(PAIR, ["", ""])),
                DecodedModel("base", "candidate", "2" * 64, DecodingOptions(), make_texts(PAIR, ["", ""])),
            ],
            TEST_SETTINGS,
            TEST_PROVENANCE,
        )
    with pytest.raises(EvaluationError, match="there is no model"):
        compare_decoded_models(PAIR, [], TEST_SETTINGS, TEST_PROVENANCE)
    whole = [DecodedModel("base", "base", "1" * 64, DecodingOptions(), make_texts(PAIR, ["", ""]))]
    with pytest.raises(EvaluationError, match="base has no hypothesis"):
        compare_decoded_models(
            PAIR, whole, TEST_SETTINGS, TEST_PROVENANCE, OptionalMeasurements(out_of_domain=make_utterances(2, 2))
        )


def test_an_empty_test_set_gives_a_comparison_without_figures() -> None:
    found = make_comparison([], {"base": 0.4, "candidate": 0.2})
    assert found.models[0].wer.value is None
    assert found.models[0].wer.interval is None
    assert found.test.words == 0
    assert read_comparison(found.to_json()) == found


def test_examples_show_gains_losses_and_failures_and_no_utterance_twice() -> None:
    found = make_comparison(make_utterances(6, 12), {"base": 0.4, "candidate": 0.3})
    kinds = [each.kind for each in found.examples]
    assert set(kinds) == {"improved", "regressed", "worst"}
    assert len({each.segment_id for each in found.examples}) == len(found.examples)
    for example in found.examples:
        base, candidate = example.hypotheses
        assert example.kind != "improved" or candidate.errors < base.errors
        assert example.kind != "regressed" or candidate.errors > base.errors
    assert normalise_spanish(found.examples[0].reference)


@pytest.mark.long
@settings(max_examples=15)
@given(st.lists(st.text(alphabet="aeñó 1.¿[]<", max_size=12), min_size=2, max_size=2))
def test_any_text_can_be_compared(texts: list[str]) -> None:
    found = compare_pair(texts, ["los niños traen la libreta", "hola ana"])
    assert found.models[1].wer.value == 0
    assert read_comparison(found.to_json()) == found
