"""What the model assets refuse; `test_daemon` has a version that passes through all of them."""

import pytest

from habla_ml.corpus.snapshot import load_latest_snapshot
from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.lake.factory import open_store
from habla_ml.release.published import list_releases
from habla_ml.training.process import main as train
from habla_ml_tests.defs.conftest import MONDAY, DagsterDeployment, find_failure


@pytest.fixture
def deployment_with_version(ingested: DagsterDeployment) -> DagsterDeployment:
    assert ingested.materialize("splits").success
    ingested.instance.add_dynamic_partitions(MODEL_VERSIONS, ["v1"])
    return ingested


def test_a_version_without_an_evaluation_is_not_released(deployment_with_version):
    result = deployment_with_version.materialize("cdn_release", "v1")
    assert not result.success
    assert "v1 was never evaluated" in find_failure(result)


def test_the_error_of_an_empty_corpus_has_the_next_step(deployment):
    result = deployment.materialize("splits")
    assert not result.success
    assert "correct some in Habla" in find_failure(result)


@pytest.mark.long
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
@pytest.mark.parametrize("learning_rate", [1e-30])
def test_the_base_model_trained_without_dagster_as_a_candidate_is_measured_and_refused(deployment_with_version):
    profile = deployment_with_version.folder / "configs" / "test.yaml"
    out = deployment_with_version.folder / "v1"
    assert train(["--settings", str(profile), "--version", "v1", "--out", str(out)]) == 0
    for asset in ("ctranslate2_model", "coreml_zip", "wer_report", "cdn_release"):
        result = deployment_with_version.materialize(asset, "v1")
        assert result.success, f"{asset}: {find_failure(result)}"
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
