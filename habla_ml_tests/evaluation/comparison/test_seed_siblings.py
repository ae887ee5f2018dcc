"""Versions that repeat a training with other seeds; a repeat is evaluated and never released."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.seed_siblings import find_seed_siblings, measure_seed_spread
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.lake import DirectoryStore, Lake, catalogue
from habla_ml.release.gate import check_gate
from habla_ml.release.override import sign_override
from habla_ml.release.stale_evidence import PresentState
from habla_ml.settings import PromotionSettings
from habla_ml.training.plan import VersionPlan
from habla_ml.training.record import FirstStageRecord, TrainedRun
from habla_ml.training.replicate_plans import plan_replicates
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances
from habla_ml_tests.testing.trained_versions import fake_digest, make_training_record

RECIPE = {
    "name": "some",
    "base_model": "package:demo/base_model",
    "learning_rate": 1e-3,
    "max_steps": 1,
    "seed": 1,
    "first_stage": {"max_steps": 1},
}
SPEECH = make_utterances(6, 6)
PROMOTION_RULE = partial(decide, settings=PromotionSettings())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


def first_stage(seed: int) -> FirstStageRecord:
    run = make_training_record("v0", seed, recipe=fake_digest(f"first stage, seed {seed}"), snapshot="").model_dump(
        include=set(TrainedRun.model_fields)
    )
    return FirstStageRecord.model_validate({**run, "tree": fake_digest(f"first stage {seed}")})


def store_training(lake: Lake, version: str, seed: int, recipe: dict[str, Any] | None = None, **identity: Any) -> None:
    """Store the records of a training with `seed`; the plan of a repeat exists already."""
    if lake.read_pointer(catalogue.PLAN.name(version)) is None:
        text = yaml.safe_dump({**RECIPE, "seed": seed, **(recipe or {})})
        plan = VersionPlan(version, fake_digest("snapshot"), lake.put_bytes(text.encode()), 4.0)
        lake.move_pointer(catalogue.PLAN.name(version), asdict(plan), None)
    first = first_stage(seed)
    record = make_training_record(
        version, seed, **{"recipe": fake_digest(f"seed {seed}"), "first_stage": first.identity.digest, **identity}
    ).model_copy(update={"first_stage": first})
    value = {"tree": record.tree, "record": lake.put_json(record.model_dump(mode="json"))}
    lake.move_pointer(catalogue.CHECKPOINT.name(version), value, lake.read_pointer(catalogue.CHECKPOINT.name(version)))


def measured(version: str, rate: float, speech=SPEECH) -> Comparison:
    """The candidate of a comparison by another name, with a planted rate."""
    found = make_comparison(speech, {"base": 0.4, "candidate": rate})
    models = [
        each.model_copy(update={"name": version, "artefact_digest": fake_digest(version)})
        if each.role == "candidate"
        else each
        for each in found.models
    ]
    return found.model_copy(update={"models": tuple(models)})


def store_report(lake: Lake, version: str, found: Comparison) -> None:
    checkpoint = lake.read_pointer(catalogue.CHECKPOINT.name(version))
    tree = checkpoint.value["tree"] if checkpoint else fake_digest(f"checkpoint of {version}")
    served = lake.read_pointer(f"models/{version}/ctranslate2")
    value = {"tree": fake_digest(version), "checkpoint": tree, "size_bytes": 1, "mended": []}
    lake.move_pointer(f"models/{version}/ctranslate2", value, served)
    value = {
        "comparison": lake.put_bytes(found.to_json().encode()),
        "checkpoint": tree,
        "ctranslate2": fake_digest(version),
    }
    lake.move_pointer(catalogue.REPORT.name(version), value, lake.read_pointer(catalogue.REPORT.name(version)))


def wer(found: Comparison) -> float:
    model = found.model("candidate")
    assert model is not None
    assert model.wer.value is not None
    return model.wer.value


def test_a_version_and_its_repeats_are_siblings(lake: Lake, tmp_path: Path) -> None:
    store_training(lake, "v2", 1)
    for plan, seed in zip(plan_replicates(lake, "v2", [11, 12], tmp_path), (11, 12), strict=True):
        store_training(lake, plan.version, seed)
    assert find_seed_siblings(lake, "v2", tmp_path) == ("v2-s2", "v2-s3")
    assert find_seed_siblings(lake, "v2-s3", tmp_path) == ("v2", "v2-s2")
    assert find_seed_siblings(lake, "v9", tmp_path) == ()


@pytest.mark.parametrize(
    ("identity", "recipe"),
    [
        ({"snapshot": fake_digest("later")}, {}),
        ({"base_model": fake_digest("other")}, {}),
        ({"replay": fake_digest("other")}, {}),
        ({"packages": {"torch": "3"}}, {}),
        ({"code": "2"}, {}),
        ({}, {"learning_rate": 2e-3}),
        ({}, {"first_stage": {"max_steps": 2}}),
    ],
)
def test_a_version_that_differs_by_more_than_the_seed_is_not_a_sibling(
    lake: Lake, tmp_path: Path, identity: dict[str, Any], recipe: dict[str, Any]
) -> None:
    store_training(lake, "v2", 1)
    store_training(lake, "v3", 2, recipe, **identity)
    assert find_seed_siblings(lake, "v2", tmp_path) == ()


def test_another_version_with_another_seed_is_a_sibling_and_the_same_seed_is_the_same_model(
    lake: Lake, tmp_path: Path
) -> None:
    store_training(lake, "v2", 1)
    store_training(lake, "v3", 1)
    store_training(lake, "v4", 2)
    store_training(lake, "v5", 2)
    assert find_seed_siblings(lake, "v2", tmp_path) == ("v4",)


@pytest.mark.long
def test_the_spread_uses_comparable_siblings_only(lake: Lake) -> None:
    messages: list[str] = []
    own = measured("v2", 0.2)
    store_report(lake, "v2-s2", measured("v2-s2", 0.24))
    store_report(lake, "v2-s3", measured("v2-s3", 0.16))
    store_report(lake, "v2-s4", measured("v2-s4", 0.2, make_utterances(6, 6, seed=5)))
    greedy = measured("v2-s5", 0.2)
    models = [each.model_copy(update={"decoding": DecodingOptions(beam_size=1)}) for each in greedy.models]
    store_report(lake, "v2-s5", greedy.model_copy(update={"models": tuple(models)}))
    store_report(lake, "v2-s6", measured("another", 0.2))
    siblings = [f"v2-s{nth}" for nth in range(2, 8)]
    found = measure_seed_spread(lake, siblings, own, messages.append)
    assert found is not None
    assert {each.version: each.wer for each in found.runs} == {
        "v2": wer(own),
        "v2-s2": wer(measured("v2-s2", 0.24)),
        "v2-s3": wer(measured("v2-s3", 0.16)),
    }
    assert [line.split()[0] for line in messages] == ["v2-s4", "v2-s5", "v2-s6", "v2-s7"]


def test_without_a_scored_sibling_there_is_no_seed_spread(lake: Lake) -> None:
    assert measure_seed_spread(lake, (), measured("v2", 0.2), print) is None
    assert measure_seed_spread(lake, ["v2-s2"], measured("v2", 0.2), lambda _: None) is None


def test_a_repeat_is_never_released(lake: Lake, tmp_path: Path) -> None:
    store_training(lake, "v2", 1)
    (plan,) = plan_replicates(lake, "v2", [11], tmp_path)
    store_training(lake, plan.version, 11)
    comparison = measured(plan.version, 0.05)
    store_report(lake, plan.version, comparison)
    present = PresentState(
        comparison.test.digest, comparison.provenance.conventions_digest, DecodingOptions(), None, None
    )
    gate = check_gate(lake, plan.version, PROMOTION_RULE, present)
    assert not gate.is_allowed
    assert gate.reasons[0].startswith("v2-s2 repeats v2 with another seed")
    now = datetime(2026, 11, 21, tzinfo=UTC)
    with pytest.raises(ReleaseError, match="v2-s2 repeats a version with another seed"):
        sign_override(lake, plan.version, "Eva", "It is the best of the three that we trained.", now, PROMOTION_RULE)
