"""Replicates with other seeds: offered in the UI and trained on demand only; `test_daemon` trains one."""

from dataclasses import asdict

import dagster as dg
import pytest

from habla_ml.defs.models.replicates import train_replicates
from habla_ml.defs.partitions import MODEL_VERSIONS, next_version
from habla_ml.errors import HablaError
from habla_ml.lake import catalogue
from habla_ml.training.plan import VersionPlan, read_plan
from habla_ml_tests.defs.conftest import DagsterDeployment
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.trained_versions import store_trained_plan


def leave_version(deployment: DagsterDeployment, version: str) -> None:
    """Store a version that counts as trained and evaluated, on a corpus of 0 hours."""
    lake = deployment.lake()
    lake.move_pointer(catalogue.PLAN.name(version), asdict(VersionPlan(version, "5" * 64, "0" * 64, 0.0)), None)
    lake.move_pointer(f"models/{version}/report", {}, None)


def test_replicates_do_not_change_the_next_version():
    assert next_version(["v1", "v2", "v2-s2", "v2-s30"]) == "v3"


def test_replicates_are_registered_once(deployment):
    deployment.instance.add_dynamic_partitions(MODEL_VERSIONS, ["v1-s2", "v1-s3"])
    deployment.instance.add_dynamic_partitions(MODEL_VERSIONS, ["v1-s2"])
    assert sorted(deployment.instance.get_dynamic_partitions(MODEL_VERSIONS)) == ["v1-s2", "v1-s3"]


@pytest.mark.parametrize("measured", [(), ("v2-s2",)])
def test_a_grown_corpus_requests_the_next_version_and_no_replicate(ingested, measured):
    ingested.instance.add_dynamic_partitions(MODEL_VERSIONS, ["v1", "v2", "v2-s2", "v2-s3"])
    for version in ("v1", "v2", *measured):
        leave_version(ingested, version)
    found = ingested.tick("corpus_growth")
    assert [request.partition_key for request in found.run_requests] == ["v3"]


def test_a_version_of_an_older_dagster_home_is_scored_after_its_replicates(deployment):
    with pytest.raises(HablaError, match="v1 could not be scored; the UI shows run"):  # it was never trained
        train_replicates(deployment.definitions, deployment.instance, "v1", [], print)


@pytest.mark.long
def test_an_unplanned_replicate_is_not_trained(ingested):
    assert ingested.materialize("splits").success
    ingested.instance.add_dynamic_partitions(MODEL_VERSIONS, ["v1-s2"])
    with pytest.raises(HablaError, match="v1-s2 could not be trained or scored; the UI shows run"):
        train_replicates(ingested.definitions, ingested.instance, "v1", ["v1-s2"], print)
    assert list(ingested.lake().list_pointers("models/")) == []


@pytest.mark.long
def test_the_command_plans_replicates_and_prints_the_next_step(deployment, tmp_path):
    store_trained_plan(deployment.lake(), "v1")
    home = tmp_path / "dagster_home"
    home.mkdir()
    command = ["repeat", "v1", "-p", str(tmp_path / "configs/test.yaml")]
    refused = run_habla_ml(*command, DAGSTER_HOME="")
    assert (refused.returncode, "DAGSTER_HOME is not set" in refused.stderr) == (1, True)
    assert deployment.lake().read_pointer(catalogue.PLAN.name("v1-s2")) is None
    done = run_habla_ml(*command, DAGSTER_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert "launch the job train_repeat for v1-s2, v1-s3" in done.stdout
    assert read_plan(deployment.lake(), "v1-s3").snapshot == read_plan(deployment.lake(), "v1").snapshot
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert sorted(instance.get_dynamic_partitions(MODEL_VERSIONS)) == ["v1-s2", "v1-s3"]
