"""Looks at a test set are counted once for each version, and the report says how lucky the best of them is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.compare import compare_decoded_models
from habla_ml.evaluation.comparison.records import Comparison, read_comparison
from habla_ml.evaluation.comparison.test_set_reuse import Look, list_version_scores, measure_reuse, record_looks
from habla_ml.evaluation.comparison.version_scores import VersionScore
from habla_ml.evaluation.metrics.inputs import DecodedModel, ModelRole
from habla_ml.evaluation.report.sentences import describe_reuse
from habla_ml.evaluation.scoring.alignment import ErrorCounts
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.lake.reachability import find_ids
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.simulated_hypotheses import (
    TEST_PROVENANCE,
    TEST_SETTINGS,
    make_utterances,
    simulate_hypotheses,
)
from habla_ml_tests.testing.trained_versions import fake_digest

SPEECH = make_utterances(8, 3)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


def compare(name: str, rate: float = 0.2, speech: list[Utterance] = SPEECH, artefact: str = "") -> Comparison:
    roles: tuple[tuple[ModelRole, str, float], ...] = (("base", "base", 0.4), ("candidate", name, rate))
    models = [
        DecodedModel(
            each,
            role,
            fake_digest(artefact or each),
            DecodingOptions(),
            simulate_hypotheses(speech, planted, seed=sum(each.encode())),
        )
        for role, each, planted in roles
    ]
    return compare_decoded_models(speech, models, TEST_SETTINGS, TEST_PROVENANCE)


def with_versions(found: Comparison, others: list[Comparison]) -> Comparison:
    scores = tuple(score for each in others for score in list_version_scores(each))
    return found.model_copy(update={"versions": scores})


def test_the_same_artefact_on_the_same_set_is_one_look(lake: Lake) -> None:
    first, second = compare("v1"), compare("v2")
    assert [each.version for each in record_looks(lake, first)] == ["v1"]
    assert record_looks(lake, first) == record_looks(lake, first)
    assert [each.version for each in record_looks(lake, second)] == ["v1", "v2"]
    assert [each.version for each in record_looks(lake, first)] == ["v1", "v2"]
    trained_again = compare("v2", artefact="v2 trained again")
    assert [each.version for each in record_looks(lake, trained_again)] == ["v1", "v2", "v2"]


def test_a_replicate_and_another_test_set_are_counted_apart(lake: Lake) -> None:
    record_looks(lake, compare("v1"))
    assert [each.version for each in record_looks(lake, compare("v1-s2"))] == ["v1"]
    other = compare("v3", speech=make_utterances(9, 3))
    assert [each.version for each in record_looks(lake, other)] == ["v3"]
    assert len(list(lake.list_pointers("test_sets/"))) == 2


def test_a_count_keeps_no_deleted_model(lake: Lake) -> None:
    found = compare("v1")
    record_looks(lake, found)
    pointer = lake.read_pointer(f"test_sets/{found.test.digest}")
    assert pointer is not None
    assert list(find_ids(dict(pointer.value))) == []


def test_a_single_look_is_not_selected(lake: Lake) -> None:
    found = compare("v1")
    reuse = measure_reuse(found, record_looks(lake, found))
    assert (reuse.looks, reuse.optimism_points, reuse.paired_error_points) == (1, 0.0, None)
    assert describe_reuse(found.model_copy(update={"reuse": reuse})) == (
        "No other version was scored on this test set, so its figures are not selected."
    )
    assert describe_reuse(found) == ""


def simulate_versions(found: Comparison, number: int, seed: int) -> Comparison:
    """Replace the models by versions with the same true rate: sessions are hard for all, and luck is a version's own."""
    random = np.random.default_rng(seed)
    words = 80
    hard = random.normal(0.2, 0.04, 16)
    scores = []
    for n in range(1, number + 1):
        errors = random.binomial(words, np.clip(hard + random.normal(0, 0.05, 16), 0, 1))
        counts = {
            f"session-{at:03d}": ErrorCounts(substitutions=int(e), hits=words - int(e)) for at, e in enumerate(errors)
        }
        rate = float(errors.sum() / (16 * words))
        interval = Interval(rate, rate, rate)
        scores.append(
            VersionScore(name=f"v{n}", artefact_digest=fake_digest(f"v{n}"), interval=interval, counts=counts)
        )
    return found.model_copy(update={"models": found.models[:1], "versions": tuple(scores)})


def test_the_best_of_many_equal_versions_looks_as_much_too_good_as_it_does_in_repeated_test_sets(lake: Lake) -> None:
    advantages, announced = [], []
    first = compare("v1")
    looks: set[Look] = set(record_looks(lake, simulate_versions(first, 20, seed=0)))
    for seed in range(30):
        found = simulate_versions(first, 20, seed)
        reuse = measure_reuse(found, looks)
        rates = [100 * each.interval.value for each in found.versions if each.interval]
        assert (reuse.looks, reuse.scored, len(rates)) == (20, 20, 20)
        assert reuse.optimism_points is not None
        announced.append(reuse.optimism_points)
        advantages.append(np.mean(rates) - min(rates))
    assert np.mean(announced) == pytest.approx(np.mean(advantages), rel=0.15)
    assert 2.2 < np.mean(announced) < 4


def test_the_luck_of_deleted_versions_is_that_of_the_others(lake: Lake) -> None:
    whole = simulate_versions(compare("v1"), 4, seed=1)
    looks = record_looks(lake, whole)
    part = whole.model_copy(update={"versions": whole.versions[2:]})
    found = measure_reuse(part, looks)
    assert (found.looks, found.scored) == (4, 2)
    assert found.paired_error_points is not None
    # The expected maximum of 4 standard normal values is 1.029.
    assert found.optimism_points == pytest.approx(1.029 * found.paired_error_points / 2**0.5, rel=0.1)
    sentence = describe_reuse(part.model_copy(update={"reuse": found}))
    assert "the best of 4 would look about" in sentence
    assert "2 of them no longer exist" in sentence
    alone = measure_reuse(whole.model_copy(update={"versions": whole.versions[:1]}), looks)
    assert alone.optimism_points is None
    assert "is not known" in describe_reuse(part.model_copy(update={"reuse": alone}))


def test_the_evidence_with_versions_and_looks_is_read_back(lake: Lake) -> None:
    versions = [compare(f"v{n}") for n in (1, 2)]
    looks = [look for each in versions for look in record_looks(lake, each)]
    found = with_versions(versions[1], versions[:1])
    found = found.model_copy(update={"reuse": measure_reuse(found, set(looks))})
    assert read_comparison(found.to_json()) == found
    assert [type(each) for each in list_version_scores(found)] == [VersionScore, VersionScore]
