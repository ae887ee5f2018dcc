"""A withdrawal in the service is erased by Dagster, without a person and without a pseudonym in its storage."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from habla_ml.inbox.clip_files import CLIP_PREFIX, get_clip_id
from habla_ml.inbox.consents import withdraw_consents
from habla_ml.training.train import lock_work_folder
from habla_ml_tests.defs.conftest import DagsterDeployment
from habla_ml_tests.testing.received_clips import Inbox, make_inbox
from habla_ml_tests.testing.received_consents import give_consent


@pytest.fixture
def inbox(deployed: DagsterDeployment) -> Inbox:
    """Clips of two contributors who withdrew and of one who did not, in the lake."""
    inbox = make_inbox(deployed.folder)
    for number in range(3):
        give_consent(inbox.database, f"pseudonimo{number}")
        inbox.receive(number, contributor=f"pseudonimo{number}")
    inbox.ingest()
    with inbox.database.write() as connection:
        for name in ("pseudonimo0", "pseudonimo1"):
            withdraw_consents(connection, name, datetime.now(UTC))
    return inbox


def request_erasure(deployed: DagsterDeployment) -> dg.RunRequest:
    (request,) = deployed.tick("withdrawn_consents").run_requests or ()
    return request


def erase(deployed: DagsterDeployment, request: dg.RunRequest) -> bool:
    job = deployed.definitions.resolve_job_def("erase_withdrawn")
    return job.execute_in_process(instance=deployed.instance, tags=request.tags, raise_on_error=False).success


@pytest.mark.slow
def test_the_sensor_requests_one_run_that_erases_all_who_withdrew(deployed: DagsterDeployment, inbox: Inbox) -> None:
    request = request_erasure(deployed)
    assert request_erasure(deployed).run_key == request.run_key
    assert erase(deployed, request)
    found = deployed.metadata("erased_contributors", None)
    assert (found["contributors"], found["segments"], found["received clips"]) == (2, 2, 2)
    assert found["page"] == "http://127.0.0.1:8787/consents"
    assert found["next"] == "nothing"
    (kept,) = inbox.read_segments()
    assert kept["speaker"] == "pseudonimo2"
    assert [get_clip_id(each.key) for each in inbox.store.list(CLIP_PREFIX)] == [kept["file_name"]]
    assert deployed.evaluate("withdrawn_consents").skip_reason == "nobody waits for an erasure"
    assert "pseudonimo" not in deployed.read_storage()


@pytest.mark.slow
def test_an_erasure_that_fails_is_requested_again_after_a_wait(deployed: DagsterDeployment, inbox: Inbox) -> None:
    training = deployed.settings.work_folder / "training" / "v1"
    training.mkdir(parents=True)
    with lock_work_folder(training):
        assert not erase(deployed, request_erasure(deployed))
    assert "waits until" in deployed.evaluate("withdrawn_consents").skip_reason
    earlier = datetime.now(UTC) - timedelta(days=1)
    assert len(inbox.read_segments()) == 1
    assert erase(deployed, dg.RunRequest(run_key="again", tags={"at": earlier.isoformat()}))
    assert deployed.evaluate("withdrawn_consents").skip_reason == "nobody waits for an erasure"


def test_without_a_service_nothing_is_requested_and_no_database_is_made(deployed: DagsterDeployment) -> None:
    assert "never started" in deployed.evaluate("withdrawn_consents").skip_reason
    assert not deployed.settings.service_folder.exists()
