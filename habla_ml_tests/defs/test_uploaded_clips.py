"""Received clips in Dagster: sensor, asset and what follows, with real definitions, database, store and lake."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from habla_ml.definitions import build_definitions
from habla_ml.lake import catalogue
from habla_ml_tests.defs.conftest import DagsterDeployment
from habla_ml_tests.service.test_batches_api import make_item, send
from habla_ml_tests.service.test_clips_api import Phone
from habla_ml_tests.testing.encoded_audio import encode_audio_file, make_pcm16_wav
from habla_ml_tests.testing.habla_sessions import make_noise
from habla_ml_tests.testing.received_clips import DAY, HOUR, RECEIVED, Inbox, make_inbox
from habla_ml_tests.testing.received_consents import give_consent
from habla_ml_tests.testing.service_client import ServiceUnderTest

pytestmark = pytest.mark.slow


@pytest.fixture
def received(deployed: DagsterDeployment) -> Inbox:
    """Two clips with a correction, and a file that is no audio, of one hour."""
    inbox = make_inbox(deployed.folder)
    for number in (1, 2):
        inbox.receive(number, make_pcm16_wav(make_noise(2.0, number)), contributor="seudónimo")
    inbox.receive(3, b"un secreto que no es audio")
    inbox.add_data_point(1, clip=1, text="Ayer fuimos a la playa.")
    return inbox


def test_an_hour_of_clips_comes_in_and_the_text_of_its_day_follows(
    deployed: DagsterDeployment, received: Inbox
) -> None:
    assert deployed.evaluate("new_uploads").partitions == [HOUR]
    assert deployed.run("ingest_uploads", HOUR).success
    found = deployed.metadata("uploaded_clips", HOUR)
    assert (found["received"], found["segments"], found["new segments"], found["set aside"]) == (3, 2, 2, 1)
    assert "is no audio of a known kind: it starts with …" in found["reasons"]
    assert found["page"] == "http://127.0.0.1:8787/status"
    assert found["new hours"] == pytest.approx(4.0 / 3600, abs=1e-4)
    assert "read_again: true" in found["next"]
    day = deployed.metadata("raw_recordings", DAY)
    assert day["segments"] == 2
    assert deployed.evaluate("new_uploads").partitions == []
    assert deployed.evaluate("service_corrections").partitions == [DAY]
    assert deployed.run("update_text", DAY).success
    assert deployed.metadata("annotated_corpus", DAY)["usable"] == 1
    assert deployed.evaluate("service_corrections").partitions == []
    received.add_data_point(2, clip=2, text="Y nos bañamos.")
    assert deployed.evaluate("service_corrections").partitions == [DAY]
    stored = deployed.read_storage()
    for secret in ("seudónimo", "secreto", "playa", "lengua", "bañamos"):
        assert secret not in stored


def test_an_hour_that_gets_more_clips_is_requested_again_and_reads_only_these(
    deployed: DagsterDeployment, received: Inbox
) -> None:
    assert deployed.run("ingest_uploads", HOUR).success
    received.receive(4)
    assert deployed.evaluate("new_uploads").partitions == [HOUR]
    assert deployed.run("ingest_uploads", HOUR).success
    found = deployed.metadata("uploaded_clips", HOUR)
    assert (found["read now"], found["new segments"], found["segments"]) == (1, 1, 3)
    assert deployed.run("ingest_uploads", HOUR).success
    assert deployed.metadata("uploaded_clips", HOUR)["read now"] == 0


def test_a_clip_that_was_set_aside_is_read_again_on_request_only(deployed: DagsterDeployment) -> None:
    inbox = make_inbox(deployed.folder, recordings={"longest_segment_s": 0.1})
    clip_id = inbox.receive(1)
    assert inbox.ingest().set_aside == 1
    assert deployed.run("ingest_uploads", HOUR).success
    assert deployed.metadata("uploaded_clips", HOUR)["segments"] == 0
    job = deployed.definitions.resolve_job_def("ingest_uploads")
    config = {"ops": {"uploaded_clips": {"config": {"read_again": True}}}}
    assert job.execute_in_process(instance=deployed.instance, partition_key=HOUR, run_config=config).success
    assert deployed.metadata("uploaded_clips", HOUR)["segments"] == 1
    assert inbox.read_clip(clip_id)["set_aside"] is None


def test_a_restored_lake_gets_what_the_service_received_since(deployed: DagsterDeployment, received: Inbox) -> None:
    assert deployed.run("ingest_uploads", HOUR).success
    assert deployed.evaluate("new_uploads").partitions == []
    lake = received.workspace.lake
    lake.delete_pointer(catalogue.RECORDINGS.name(DAY))
    lake.move_pointer(catalogue.RESTORED, {"backup": "2026-03-01T03-00-00Z", "at": "2026-03-01T03:00:00+00:00"}, None)
    found = deployed.evaluate("new_uploads")
    assert found.partitions == [HOUR]
    assert "the lake was restored from 2026-03-01T03-00-00Z: 2 clips and 0 texts are read again" in found.report
    assert deployed.run("ingest_uploads", HOUR).success
    assert deployed.metadata("raw_recordings", DAY)["segments"] == 2


def test_clips_of_a_clock_that_was_ahead_are_explained_or_come_in_now(deployed: DagsterDeployment) -> None:
    inbox, now = make_inbox(deployed.folder), datetime.now(UTC)
    inbox.receive(1, received_at=now + timedelta(hours=5))
    found = deployed.evaluate("new_uploads")
    assert found.partitions == []
    assert "is left out: it is after the present hour, by a clock of the service that was ahead" in found.report
    inbox.receive(2, received_at=now + timedelta(days=500))
    assert deployed.evaluate("new_uploads").partitions == [f"{datetime.now(UTC):%Y-%m-%dT%H}"]


def test_a_tick_requests_24_hours_and_hours_that_cannot_be_requested_hold_up_no_other(
    deployed: DagsterDeployment,
) -> None:
    inbox = make_inbox(deployed.folder)
    for number in range(30):  # before `recordings.first_day`
        inbox.receive(number, b"", received_at=datetime(2025, 12, 1, tzinfo=UTC) + timedelta(hours=number))
    expected = []
    for number in range(30):
        received_at = RECEIVED + timedelta(hours=number)
        inbox.receive(100 + number, b"", received_at=received_at)
        expected.append(f"{received_at:%Y-%m-%dT%H}")
    found = deployed.evaluate("new_uploads")
    assert found.partitions == expected[:24]
    assert "2025-12-01T00 is left out: it is before recordings.first_day" in found.report


def test_without_a_service_nothing_is_requested_and_no_database_is_made(deployed: DagsterDeployment) -> None:
    assert "was never started" in deployed.evaluate("new_uploads").report
    assert deployed.evaluate("service_corrections").report == "nothing new"
    assert deployed.run("ingest_uploads", HOUR).success
    assert not (deployed.folder / "service").exists()


def test_a_database_that_cannot_be_read_is_reported_and_stops_no_other_source(
    deployed: DagsterDeployment, received: Inbox
) -> None:
    received.database.close()
    for path in (deployed.folder / "service").glob("service.sqlite*"):
        path.write_bytes(b"no database" * 1_000)
    for sensor in ("new_uploads", "service_corrections"):
        found = deployed.evaluate(sensor)
        assert found.partitions == []
        assert "the service's database" in found.report
    assert deployed.evaluate("new_corrections").report == "nothing new"


def test_only_the_oldest_hours_of_a_backlog_are_requested_at_once(deployed: DagsterDeployment) -> None:
    inbox = make_inbox(deployed.folder)
    for hour in range(30):
        inbox.receive(hour, received_at=RECEIVED + timedelta(hours=hour))
    found = deployed.evaluate("new_uploads")
    assert len(found.partitions) == 24
    assert found.partitions[0] == HOUR


def test_what_a_phone_sends_over_http_is_text_of_the_corpus_two_sensors_later(tmp_path: Path) -> None:
    service = ServiceUnderTest(tmp_path)
    service.now = RECEIVED
    settings = service.state.settings
    give_consent(service.state.database, "c-17")
    phone = Phone(service)
    assert phone.put(encode_audio_file("m4a", 2.0)).status_code == 201
    item = make_item(correctedTranscription="Ayer fuimos a la playa.", timestamp=RECEIVED.isoformat(), seenText="ayer")
    assert [each["status"] for each in send(phone, item)] == ["accepted"]
    with dg.DagsterInstance.ephemeral() as instance:
        deployed = DagsterDeployment(tmp_path, settings, build_definitions(settings), instance)
        (hour,) = deployed.evaluate("new_uploads").partitions
        assert deployed.run("ingest_uploads", hour).success
        (day,) = deployed.evaluate("service_corrections").partitions
        assert deployed.run("update_text", day).success
        assert deployed.metadata("annotated_corpus", day)["usable"] == 1
        assert deployed.evaluate("service_corrections").partitions == []
