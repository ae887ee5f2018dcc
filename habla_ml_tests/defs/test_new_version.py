"""The job `new_version`: a person adds a version, which the partition picker then has, and the sensor trains it."""

from __future__ import annotations

import dagster as dg
import pytest

from habla_ml.defs.jobs import NEW_VERSION, RETRAIN
from habla_ml.defs.models.new_version import VERSION_TAG
from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml_tests.defs.conftest import DagsterDeployment


@pytest.fixture
def growth_hours() -> float:
    """Return a bound that no corpus of these tests reaches."""
    return 1000.0


def launch(deployment: DagsterDeployment, *, start_training: bool) -> None:
    config = {"ops": {"add_version": {"config": {"start_training": start_training}}}}
    job = deployment.definitions.resolve_job_def(NEW_VERSION)
    assert job.execute_in_process(instance=deployment.instance, run_config=config).success


def request(deployment: DagsterDeployment) -> tuple[list[str], str]:
    """Return the versions that the sensor requests, and why it requests none."""
    found = deployment.tick("corpus_growth")
    skipped = found.skip_reason.skip_message if isinstance(found.skip_reason, dg.SkipReason) else ""
    return [str(each.partition_key) for each in found.run_requests or ()], skipped or ""


def test_an_added_version_is_in_the_picker_and_is_trained_once(ingested: DagsterDeployment) -> None:
    assert request(ingested)[0] == []
    launch(ingested, start_training=True)
    assert ingested.instance.get_dynamic_partitions(MODEL_VERSIONS) == ["v1"]
    assert request(ingested)[0] == ["v1"]
    tags = {"dagster/partition": "v1", VERSION_TAG: "v1"}
    training = ingested.instance.create_run_for_job(ingested.definitions.resolve_job_def(RETRAIN), tags=tags)
    assert request(ingested)[0] == [], "it is being trained"
    ingested.instance.report_run_canceled(training)
    assert "the corpus grew by" in request(ingested)[1], "a training that a person canceled is not repeated"


def test_a_version_can_be_added_without_a_training_and_is_not_added_twice(ingested: DagsterDeployment) -> None:
    launch(ingested, start_training=False)
    launch(ingested, start_training=False)
    assert ingested.instance.get_dynamic_partitions(MODEL_VERSIONS) == ["v1"]
    requested, skipped = request(ingested)
    assert requested == []
    assert "more of speech" in skipped


def test_an_added_version_that_was_deleted_before_its_training_is_not_requested(ingested: DagsterDeployment) -> None:
    launch(ingested, start_training=True)
    ingested.instance.delete_dynamic_partition(MODEL_VERSIONS, "v1")
    requested, skipped = request(ingested)
    assert requested == []
    assert "more of speech" in skipped
