"""One version through every model asset; slow, because it trains, converts and decodes."""

from datetime import UTC, datetime
from functools import partial

import dagster as dg
import pytest

from habla_ml.code_identity import read_code_identity
from habla_ml.corpus.snapshot import load_latest_snapshot
from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.lake.factory import open_store
from habla_ml.lineage.node import LineageBounds
from habla_ml.lineage.trace import trace_lineage
from habla_ml.release.override import sign_override
from habla_ml.release.published import list_releases
from habla_ml.training.process import main as train
from habla_ml.training.record import read_training_record
from habla_ml_tests.defs.conftest import MONDAY, DagsterDeployment


@pytest.fixture
def tree(tree: dict) -> dict:
    return {**tree, "service": {"public_url": "https://habla.example"}}


@pytest.fixture
def deployment_with_version(ingested: DagsterDeployment) -> DagsterDeployment:
    assert ingested.materialize("splits").success
    ingested.instance.add_dynamic_partitions(MODEL_VERSIONS, ["v1"])
    return ingested


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    events = [event for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_FAILURE]
    return str(events[0].step_failure_data.error.cause or events[0].step_failure_data.error)


def test_a_version_without_an_evaluation_is_not_released(deployment_with_version):
    result = deployment_with_version.materialize("cdn_release", "v1")
    assert not result.success
    assert "v1 was never evaluated" in failure_of(result)


def test_the_error_of_an_empty_corpus_has_the_next_step(deployment):
    result = deployment.materialize("splits")
    assert not result.success
    assert "correct some in Habla" in failure_of(result)


def test_a_snapshot_without_a_test_set_blocks_the_training(deployment):
    for session in sorted(deployment.recordings.iterdir())[1:]:
        for path in session.rglob("*"):
            path.unlink()
        session.rmdir()
    assert deployment.run("ingest_day", MONDAY).success
    deployment.instance.add_dynamic_partitions(MODEL_VERSIONS, ["v1"])
    result = deployment.run("train_and_release", "v1")
    assert not result.success
    checks = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert not checks["splits_are_disjoint_and_whole"].passed
    assert load_latest_snapshot(deployment.lake()).counts["test"] == 0
    assert deployment.lake().read_pointer("models/v1/checkpoint") is None


@pytest.mark.slow
@pytest.mark.parametrize("growth_hours", [0.01])
def test_a_version_is_trained_exported_and_scored_and_scoring_again_decodes_nothing(deployment_with_version):
    for asset in ("fine_tuned_checkpoint", "ctranslate2_model", "coreml_zip", "wer_report", "cdn_release"):
        result = deployment_with_version.materialize(asset, "v1")
        assert result.success, f"{asset}: {failure_of(result)}"
    trained = deployment_with_version.metadata("fine_tuned_checkpoint", "v1")
    assert trained["steps"] == 4
    assert trained["loss"].startswith("![training loss](data:image/png")
    report = deployment_with_version.metadata("wer_report", "v1")
    assert report["clips decoded now"] > 0
    assert report["page"] == "https://habla.example/reports/v1"
    for asset in (trained, report):
        assert asset["lineage"] == "`habla-ml lineage v1`"
    assert trained["snapshot"] == report["provenance"]["snapshot_id"]
    assert trained["code"] == str(read_code_identity())
    assert report["WER with intervals"].startswith("![WER](data:image/png")
    assert deployment_with_version.metadata("coreml_zip", "v1")["encoder PSNR dB"] > 45
    (decoded,) = [line for line in report["export formats"].splitlines() if "coreml, float16" in line]
    assert "coreml, as phone" in decoded
    assert "(interpreter)" in decoded
    released = deployment_with_version.metadata("cdn_release", "v1")
    assert released["released"] is False
    settings = deployment_with_version.settings
    assert list_releases(open_store(settings.release.store), settings.release.channel) == []
    before = read_stored_comparison(deployment_with_version.lake(), "v1")
    assert deployment_with_version.materialize("wer_report", "v1").success
    assert deployment_with_version.metadata("wer_report", "v1")["clips decoded now"] == 0
    assert read_stored_comparison(deployment_with_version.lake(), "v1") == before
    assert deployment_with_version.materialize("fine_tuned_checkpoint", "v1").success
    again = deployment_with_version.metadata("fine_tuned_checkpoint", "v1")
    assert again["checkpoint_tree"] == trained["checkpoint_tree"]
    assert_that_a_release_names_its_ancestors(deployment_with_version)


def assert_that_a_release_names_its_ancestors(deployment: DagsterDeployment) -> None:
    """Release v1 by a person's decision, and follow what its metadata name."""
    lake, settings = deployment.lake(), deployment.settings
    reason = "It is the only version that this test trains."
    sign_override(lake, "v1", "Ana Ruiz", reason, datetime.now(UTC), partial(decide, settings=settings.promotion))
    assert deployment.materialize("cdn_release", "v1").success
    released, record = deployment.metadata("cdn_release", "v1"), read_training_record(lake, "v1")
    assert (released["released"], released["checkpoint"]) == (True, record.tree)
    assert released["lineage"] == f"`habla-ml lineage {released['version']}`"
    assert released["snapshot of the training"] == load_latest_snapshot(lake).id
    assert released["code of the training"] == released["code of the release"] == str(read_code_identity())
    found = trace_lineage(lake, open_store(settings.release.store), released["version"], LineageBounds())
    assert found.roots[0].below[0].details["record"] == released["training record"]


@pytest.mark.slow
@pytest.mark.parametrize("learning_rate", [1e-30])
def test_the_base_model_trained_without_dagster_as_a_candidate_is_measured_and_refused(deployment_with_version):
    profile = deployment_with_version.folder / "configs" / "test.yaml"
    out = deployment_with_version.folder / "v1"
    assert train(["--settings", str(profile), "--version", "v1", "--out", str(out)]) == 0
    for asset in ("ctranslate2_model", "coreml_zip", "wer_report", "cdn_release"):
        result = deployment_with_version.materialize(asset, "v1")
        assert result.success, f"{asset}: {failure_of(result)}"
    comparison = read_stored_comparison(deployment_with_version.lake(), "v1")
    base, candidate = comparison.model("base"), comparison.model("candidate")
    assert candidate.wer == base.wer
    assert deployment_with_version.metadata("cdn_release", "v1")["released"] is False
    why = deployment_with_version.metadata("cdn_release", "v1")["why"]
    assert "has the same files as the base model" in why
    for stale in ("another test set", "other conventions", "is to be replaced", "than the present one"):
        assert stale not in why
    settings = deployment_with_version.settings
    assert list_releases(open_store(settings.release.store), settings.release.channel) == []
