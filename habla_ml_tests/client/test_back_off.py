"""Waits that a real service asks for: a limit of requests, and a store that cannot be used."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from habla_ml.client.back_off import BackOff
from habla_ml.client.device import DeviceClient
from habla_ml.client.problems import ProblemReceivedError
from habla_ml_tests.testing.received_consents import give_consent
from habla_ml_tests.testing.served_deployment import serve_deployment

LIMITS = {"uploads": {"device_requests_per_minute": 3}}


@pytest.mark.long
def test_a_device_above_its_limit_waits_as_long_as_the_service_says_and_loses_nothing(tmp_path: Path) -> None:
    waits: list[float] = []
    with (
        serve_deployment(tmp_path, service=LIMITS) as server,
        DeviceClient(server.url, tmp_path / "phone", "1.0", BackOff(attempts=2, sleep=waits.append)) as device,
    ):
        device.enrol(server.make_code())
        give_consent(server.database, "r-1")
        wait_for_minute()
        clips = [device.record(b"clip %d" % n, "3A", "r-1") for n in range(5)]
        with pytest.raises(ProblemReceivedError, match="limit is 3") as caught:
            device.upload()
        assert (caught.value.status, caught.value.is_retryable) == (429, True)
        asked_s = caught.value.retry_after_s
        assert asked_s is not None
        assert 1 <= asked_s <= 60
        # The second attempt is at once, since the wait is only noted: its answer asks for the same or a second less.
        assert len(waits) == 1
        assert asked_s <= waits[0] <= asked_s + 2
        assert [each.id for each in device.queue.list_waiting_recordings()] == clips[3:]


@pytest.mark.long
def test_a_longer_wait_than_the_app_can_sleep_ends_the_upload_at_once(tmp_path: Path) -> None:
    waits: list[float] = []
    retry = BackOff(longest_wait_s=5, sleep=waits.append)
    with (
        serve_deployment(tmp_path) as server,
        DeviceClient(server.url, tmp_path / "phone", "1.0", retry) as device,
    ):
        device.enrol(server.make_code())
        give_consent(server.database, "r-1")
        clip = device.record(b"clip", "3A", "r-1")
        folder = server.settings.service_folder / "inbox" / "clips"
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.write_text("a file where the store needs a folder")
        with pytest.raises(ProblemReceivedError) as caught:
            device.upload()
        assert (caught.value.status, caught.value.retry_after_s, waits) == (503, 30, [])
        folder.unlink()
        assert device.upload().recordings == 1
        assert clip not in [each.id for each in device.queue.list_waiting_recordings()]


def wait_for_minute() -> None:
    """Wait for a new minute if this one ends during the test, since the service counts requests by minute."""
    left_s = 60 - time.time() % 60
    if left_s < 5:
        time.sleep(left_s)


def test_devices_that_were_refused_together_do_not_come_back_together() -> None:
    def refuse() -> None:
        raise ProblemReceivedError("/problems/too-many", 429, "", True, 10)

    waits: list[float] = []
    for _ in range(20):
        with pytest.raises(ProblemReceivedError):
            BackOff(attempts=2, first_wait_s=1, sleep=waits.append).call(refuse)
    assert len(set(waits)) == 20
    assert min(waits) >= 10
    assert max(waits) <= 11
