"""The client plays the app against a real server."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from habla_ml.client.back_off import BackOff
from habla_ml.client.device import DeviceClient
from habla_ml.client.problems import ServiceUnreachableError, UnauthenticatedError
from habla_ml.client.upload import UploadReport
from habla_ml.inbox.clips import derive_clip_id
from habla_ml.inbox.devices import list_devices, revoke_device
from habla_ml.inbox.schema import CLIPS, DEVICES
from habla_ml.release.moves import rollback
from habla_ml.release.publish import publish_release
from habla_ml_tests.testing.faulty_network import Fault, FaultPlan, FaultyHttp, fail_once, parse_address
from habla_ml_tests.testing.received_consents import give_consent
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files
from habla_ml_tests.testing.served_deployment import ServedDeployment


def list_audio(folder: Path) -> list[str]:
    return sorted(each.name for each in (folder / "phone" / "clips").iterdir())


def test_the_device_uploads_and_then_deletes_its_audio(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path
) -> None:
    give_consent(server.database, "u-1")
    first = device.record(b"audio one", "3A", "u-1", datetime.now(UTC))
    device.record(b"audio two", "3A", "u-1")
    device.correct(first, "los niños", language="es", seenText="lo niño", modelVersion="v1")
    assert len(list_audio(tmp_path)) == 2
    assert device.upload() == UploadReport(recordings=2, data_points=1, refused=0)
    assert list_audio(tmp_path) == []
    assert [each.uploaded for each in device.queue.list_data_points()] == [True]
    [listed] = [each for each in list_devices(server.database) if each.device.device_id == server.find_owner(first)]
    assert derive_clip_id(listed.device.device_id, first) in server.list_clips()
    assert "los niños" in server.list_texts()
    assert device.upload() == UploadReport(0, 0, 0)


def test_a_data_point_that_is_refused_stops_no_other(server: ServedDeployment, device: DeviceClient) -> None:
    give_consent(server.database, "u-4")
    clip = device.record(b"a clip with three texts", "3A", "u-4")
    for text in ("una", "\x07 a control character", "dos"):
        device.correct(clip, text)
    assert device.upload() == UploadReport(recordings=1, data_points=2, refused=1)
    found = {each.sent.correctedTranscription: each.refusal for each in device.queue.list_data_points()}
    assert found == {"una": None, "\x07 a control character": "/problems/invalid", "dos": None}


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda file: file.write_bytes(b"a clip on a bad disc"), "/problems/digest-mismatch"),
        (Path.unlink, "unreadable-audio"),
    ],
    ids=["damaged", "lost"],
)
def test_a_clip_that_is_damaged_or_lost_on_the_device_stops_no_other(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path, harm: Callable[[Path], object], problem: str
) -> None:
    give_consent(server.database, "u-7")
    harmed = device.record(b"a clip on a bad disk", "3A", "u-7")
    device.record(b"a clip on a good disk", "3A", "u-7")
    harm(tmp_path / "phone" / "clips" / harmed)
    assert device.upload() == UploadReport(recordings=1, data_points=0, refused=1)
    assert device.queue.list_refused_recordings() == {harmed: problem}


def test_audio_that_a_crash_left_without_a_row_is_removed_at_the_next_start(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path
) -> None:
    kept = device.record(b"recorded", "3A", "u-8")
    device.close()
    (tmp_path / "phone" / "clips" / "3f2b8c1e-9d41-4b7a-8a54-0c2f6f1d7e90").write_bytes(
        b"of a withdrawal that was killed"
    )
    with DeviceClient(server.url, tmp_path / "phone", "1.0"):
        assert list_audio(tmp_path) == [kept]


def test_a_wrong_code_and_a_revoked_token_are_typed_errors(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path
) -> None:
    with DeviceClient(server.url, tmp_path / "other", "1.0") as other, pytest.raises(UnauthenticatedError):
        other.enrol("AAAA-AAAA-AAAA")
    give_consent(server.database, "u-5")
    first = device.record(b"before it was revoked", "3A", "u-5")
    device.upload()
    revoke_device(server.database, server.find_owner(first), datetime.now(UTC))
    kept = device.record(b"after it was revoked", "3A", "u-5")
    with pytest.raises(UnauthenticatedError, match="401"):
        device.upload()
    assert list_audio(tmp_path) == [kept]


def test_a_server_that_is_down_is_tried_again_with_longer_waits(tmp_path: Path) -> None:
    waits: list[float] = []
    retry = BackOff(attempts=4, first_wait_s=1, sleep=waits.append)
    with DeviceClient("http://127.0.0.1:9", tmp_path / "phone", "1.0", retry) as device:
        kept = device.record(b"offline", "3A")
        with pytest.raises(ServiceUnreachableError):
            device.upload()
        assert list_audio(tmp_path) == [kept]
    assert [0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(waits)] == [True] * 3


def test_the_device_finds_updates_and_follows_a_rollback(
    server: ServedDeployment, device: DeviceClient, tmp_path: Path
) -> None:
    from habla_ml.lake.factory import open_store

    store = open_store(server.settings.release.store)
    for version in ("v1", "v2"):
        publish_release(store, None, "stable", make_draft(version), make_release_files(tmp_path, version))
    found = device.find_update("ios")
    assert found is not None
    assert (found.modelVersion, found.number) == ("v2", 2)
    assert device.find_update("ios", current=found.version) is None
    # An outdated answer of a cache names an earlier state, and is ignored.
    device.queue.write_value("sequence of stable", "3")
    assert device.find_update("ios") is None
    rollback(store, "stable")
    # The service may answer from its cache for 30 s; the file of the CDN is new at once.
    assert b'"v1"' in store.read("channels/stable/models/ios.json")


@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.CUT_ANSWER, Fault.TWICE])
def test_an_enrolment_with_a_lost_answer_succeeds_at_the_next_attempt_also_after_a_restart(
    fault: Fault, server: ServedDeployment, tmp_path: Path
) -> None:
    before, code = len(list_devices(server.database)), server.make_code()
    plan = FaultPlan(fail_once(fault, "POST /v1/devices"))
    with (
        FaultyHttp(parse_address(server.url), plan) as proxy,
        DeviceClient(proxy.endpoint, tmp_path / "phone", "1.0", BackOff(attempts=1)) as device,
        nullcontext() if fault == Fault.TWICE else pytest.raises(ServiceUnreachableError),
    ):
        device.enrol(code)
    with DeviceClient(server.url, tmp_path / "phone", "1.0", BackOff(attempts=1)) as device:
        device.enrol(code)
        assert device.upload() == UploadReport(0, 0, 0)
    assert len(list_devices(server.database)) == before + 1
    assert plan.counted == {fault: 1}


def test_a_device_whose_token_has_expired_goes_on_after_its_renewal(
    server: ServedDeployment, device: DeviceClient
) -> None:
    give_consent(server.database, "u-9")
    clip = device.record(b"a clip of last year", "3A", "u-9")
    device.upload()
    device.correct(clip, "un texto de este año")
    owner = server.find_owner(clip)
    with server.database.write() as connection:
        past = datetime.now(UTC) - timedelta(days=1)
        connection.execute(update(DEVICES).where(DEVICES.c.device_id == owner).values(expires_at=past))
    with pytest.raises(UnauthenticatedError):
        device.upload()
    device.enrol(server.make_code())
    assert device.upload() == UploadReport(recordings=0, data_points=1, refused=0)
    assert "un texto de este año" in server.list_texts()


@pytest.mark.slow
def test_a_killed_client_loses_and_doubles_nothing(server: ServedDeployment, tmp_path: Path) -> None:
    give_consent(server.database, "u-6")
    before, rng = set(server.list_clips()), random.Random(6)
    with DeviceClient(server.url, tmp_path / "phone", "1.0") as device:
        device.enrol(server.make_code())
        for n in range(120):
            device.correct(device.record(f"clip {n}".encode() * 100, "3A", "u-6"), f"texto {n}")
    command = [sys.executable, "-m", "habla_ml_tests.testing.device_process", server.url, str(tmp_path / "phone")]
    kills = 0
    for _ in range(12):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begin\n"
            time.sleep(rng.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
        kills += process.returncode == -signal.SIGKILL
    assert kills > 3
    subprocess.run(command, check=True, capture_output=True)
    new = set(server.list_clips()) - before
    assert len(new) == 120
    assert [text for text in server.list_texts() if text.startswith("texto")] == sorted(
        f"texto {n}" for n in range(120)
    )
    assert list_audio(tmp_path) == []
    with server.database.read() as connection:
        digests = [
            row.sha256 for row in connection.execute(select(CLIPS.c.clip_id, CLIPS.c.sha256)) if row.clip_id in new
        ]
    assert len(set(digests)) == 120
    assert len(server.list_files()) >= 120
