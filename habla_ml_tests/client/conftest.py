"""A real service, and a device that is enrolled in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from habla_ml.client.back_off import BackOff
from habla_ml.client.device import DeviceClient
from habla_ml_tests.testing.served_deployment import ServedDeployment, serve_deployment


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedDeployment]:
    with serve_deployment(tmp_path_factory.mktemp("service")) as deployment:
        yield deployment


@pytest.fixture
def device(server: ServedDeployment, tmp_path: Path) -> Iterator[DeviceClient]:
    with DeviceClient(server.url, tmp_path / "phone", "1.0", BackOff(attempts=1)) as device:
        device.enrol(server.make_code())
        yield device
