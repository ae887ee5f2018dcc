"""The release decodes the sealed sessions once for each version, and their result can forbid the release."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from habla_ml.corpus.snapshot import Snapshot, Split, load_snapshot
from habla_ml.evaluation.comparison.sealed_result import SealedResult, read_sealed_result, summarise_sealed
from habla_ml.lake import Lake, catalogue
from habla_ml.release.gate import GateResult, check_gate
from habla_ml.release.override import sign_override
from habla_ml.release.sealed import check_with_sealed_share, open_sealed_share
from habla_ml.settings import Settings
from habla_ml.training.plan import VersionPlan
from habla_ml.transcription.hypothesis_cache import read_hypotheses
from habla_ml.transcription.serving_profiles import build_served_options
from habla_ml_tests.evaluation.conftest import artefact
from habla_ml_tests.release.test_gate import PRESENT, PROMOTION_RULE, evaluate, lake, set_pointer, train_and_export
from habla_ml_tests.testing.released_models import make_review_settings
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances
from habla_ml_tests.testing.training_snapshot import SENTENCES, TrainingClipSpec, publish_snapshot

__all__ = ["artefact", "lake"]

NOW = datetime(2026, 11, 21, tzinfo=UTC)
REASON = "The other school was on a trip, so its lessons are wind only."


def make_settings(root: Path, fewest: int) -> Settings:
    found = make_review_settings(root)
    return found.model_copy(update={"promotion": found.promotion.model_copy(update={"fewest_test_sessions": fewest})})


def publish_sealed_snapshot(lake: Lake) -> Snapshot:
    """Publish a snapshot with two sealed sessions of three clips each."""
    splits: list[Split] = ["sealed"] * 6 + ["train"] * 2
    clips = [TrainingClipSpec(f"{split}-{at}", split, SENTENCES[at % 4], 1.0) for at, split in enumerate(splits)]
    snapshot = publish_snapshot(lake, clips)
    lake.move_pointer("splits/latest", {"snapshot": snapshot.id}, None)
    return load_snapshot(lake, snapshot.id)


def store_result(lake: Lake, candidate_rate: float) -> SealedResult:
    served = lake.read_pointer("models/v2/ctranslate2")
    assert served is not None
    comparison = make_comparison(make_utterances(6, 12, seed=9), {"base": 0.3, "candidate": candidate_rate})
    result = summarise_sealed("v2", comparison, looks=1)
    models = [
        each.model_copy(update={"artefact_digest": served.value["tree"]}) if each.role == "candidate" else each
        for each in result.models
    ]
    result = result.model_copy(update={"models": tuple(models)})
    set_pointer(lake, "models/v2/sealed", result=lake.put_json(result.model_dump(mode="json")), snapshot="5" * 64)
    return result


def check(lake: Lake) -> GateResult:
    return check_gate(lake, "v2", PROMOTION_RULE, PRESENT)


def fail_to_decode(line: str) -> None:
    raise AssertionError(f"nothing has to be decoded: {line}")


def test_a_sealed_result_that_agrees_is_reported_and_changes_nothing(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake)
    before = check(lake)
    result = store_result(lake, candidate_rate=0.08)
    gate = check(lake)
    assert (before.sealed, gate.sealed) == (None, result)
    assert gate.is_allowed
    assert gate.reasons[: len(before.reasons)] == before.reasons
    assert "words of 6 sealed sessions" in gate.reasons[len(before.reasons)]


@pytest.mark.long
def test_a_version_that_is_worse_on_sealed_speech_is_kept_back_until_a_person_overrides_this(
    lake: Lake, tmp_path: Path
) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake)
    store_result(lake, candidate_rate=0.6)
    gate = check(lake)
    assert not gate.is_allowed
    assert gate.reasons[0].startswith("On the sealed sessions it is significantly worse than base")
    assert any(each.startswith("Open and sealed sessions disagree beyond noise") for each in gate.reasons)
    override = sign_override(lake, "v2", "Ana Ruiz", REASON, NOW, PROMOTION_RULE)
    assert (override.verdict, override.against[0]) == ("keep", gate.reasons[0])
    allowed = check(lake)
    assert allowed.is_allowed
    assert allowed.override == override


@pytest.mark.long
def test_an_override_from_before_the_sealed_result_does_not_cover_it(lake: Lake, tmp_path: Path) -> None:
    train_and_export(lake, tmp_path)
    evaluate(lake, candidate_rate=0.4)
    sign_override(lake, "v2", "Ana Ruiz", REASON, NOW, PROMOTION_RULE)
    assert check(lake).is_allowed
    store_result(lake, candidate_rate=0.6)
    assert not check(lake).is_allowed
    sign_override(lake, "v2", "Ana Ruiz", REASON, NOW, PROMOTION_RULE)
    assert check(lake).is_allowed


def test_a_refused_version_does_not_open_the_sealed_sessions(lake: Lake, tmp_path: Path) -> None:
    publish_sealed_snapshot(lake)
    train_and_export(lake, tmp_path)
    evaluate(lake, candidate_rate=0.4)
    assert open_sealed_share(lake, check(lake), make_settings(tmp_path, fewest=2), fail_to_decode) is None
    assert lake.read_pointer("models/v2/sealed") is None


def test_few_sealed_sessions_stay_closed(lake: Lake, tmp_path: Path) -> None:
    publish_sealed_snapshot(lake)
    train_and_export(lake, tmp_path)
    evaluate(lake)
    lines: list[str] = []
    assert open_sealed_share(lake, check(lake), make_settings(tmp_path, fewest=3), lines.append) is None
    assert lines == ["2 sealed sessions; they are decoded once there are 3"]
    assert list(lake.list_pointers("hypotheses/")) == []


def test_a_stored_result_is_read_and_nothing_is_decoded(lake: Lake, tmp_path: Path) -> None:
    publish_sealed_snapshot(lake)
    train_and_export(lake, tmp_path)
    evaluate(lake)
    result = store_result(lake, candidate_rate=0.6)
    assert open_sealed_share(lake, check(lake), make_settings(tmp_path, fewest=2), fail_to_decode) == result


def test_the_decision_stays_where_the_sealed_share_stays_closed(lake: Lake, tmp_path: Path) -> None:
    publish_sealed_snapshot(lake)
    train_and_export(lake, tmp_path)
    evaluate(lake)
    lines: list[str] = []
    gate = check_with_sealed_share(lambda: check(lake), lake, make_settings(tmp_path, fewest=3), lines.append)
    assert (gate, gate.is_allowed) == (check(lake), True)
    assert lines == ["2 sealed sessions; they are decoded once there are 3"]


def test_a_sealed_result_that_another_run_stored_meanwhile_decides(lake: Lake, tmp_path: Path) -> None:
    publish_sealed_snapshot(lake)
    train_and_export(lake, tmp_path)
    evaluate(lake)
    decisions: list[bool] = []

    def check_before_the_other_run() -> GateResult:
        gate = check(lake)
        if not decisions:
            store_result(lake, candidate_rate=0.6)
        decisions.append(gate.is_allowed)
        return gate

    settings = make_settings(tmp_path, fewest=2)
    gate = check_with_sealed_share(check_before_the_other_run, lake, settings, fail_to_decode)
    assert (decisions, gate.is_allowed) == ([True, False], False)
    assert gate.reasons[0].startswith("On the sealed sessions it is significantly worse than base")


@pytest.mark.slow
def test_the_sealed_sessions_are_decoded_with_the_served_models_exactly_once(
    lake: Lake, tmp_path: Path, artefact: Path
) -> None:
    settings, snapshot = make_settings(tmp_path, fewest=2), publish_sealed_snapshot(lake)
    train_and_export(lake, tmp_path / "export")
    served = lake.put_tree(artefact)
    set_pointer(lake, "models/v2/ctranslate2", tree=served)
    plan = VersionPlan("v2", snapshot.id, lake.put_file(settings.training.recipe), 1.0)
    lake.move_pointer(catalogue.PLAN.name("v2"), asdict(plan), None)
    evaluate(lake)
    gate = replace(check(lake), is_allowed=True)
    result = open_sealed_share(lake, gate, settings, lambda _: None)
    assert result is not None
    assert (result.sessions, result.looks, result.artefact_digest) == (2, 1, served)
    assert [each.name for each in result.models] == ["base", "v2"]
    known = read_hypotheses(lake, served, build_served_options(settings.evaluation))
    assert len(known) == 6
    before = {name: lake.read_pointer(name) for name in lake.list_pointers("")}
    assert open_sealed_share(lake, gate, settings, fail_to_decode) == result == read_sealed_result(lake, "v2")
    assert {name: lake.read_pointer(name) for name in lake.list_pointers("")} == before
    assert check(lake).sealed == result
