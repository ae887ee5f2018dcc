"""The device's download of a model from a real web server: completely and checked, or not at all."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from habla_ml.client.back_off import BackOff
from habla_ml.client.device import DeviceClient
from habla_ml.client.problems import DamagedDownloadError, ProblemReceivedError, ServiceUnreachableError
from habla_ml.client.wire import LatestModel
from habla_ml.errors import InputError
from habla_ml_tests.testing.file_server import serve_folder

DATA = b"bytes of a model" * 10_000


def describe_model(url: str, **fields: Any) -> LatestModel:
    values = {"platform": "ios", "channel": "stable", "sequence": 1, "version": "2026.11.21-v2", "number": 1}
    sizes = {"url": url, "sha256": hashlib.sha256(DATA).hexdigest(), "sizeBytes": len(DATA), "format": "mlpackage"}
    rules = {"modelVersion": "v2", "minimumOSVersion": None, "minimumAppVersion": None, "rolloutPercent": 100}
    return LatestModel.model_validate({**values, **sizes, **rules, **fields})


@pytest.fixture
def device(tmp_path: Path) -> Iterator[DeviceClient]:
    with DeviceClient("http://127.0.0.1:9", tmp_path / "phone", "1.0", BackOff(attempts=1)) as device:
        device.queue.write_value("token", "a secret")
        yield device


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "model.zip"
    path.write_bytes(b"the model of last week")
    return path


def expect_unchanged(target: Path) -> None:
    assert target.read_bytes() == b"the model of last week"
    assert [each.name for each in target.parent.iterdir() if "unfinished" in each.name] == []


def test_the_right_file_replaces_the_earlier_one(device: DeviceClient, target: Path, tmp_path: Path) -> None:
    (tmp_path / "cdn").mkdir()
    (tmp_path / "cdn" / "v2.zip").write_bytes(DATA)
    with serve_folder(tmp_path / "cdn") as address:
        device.download(describe_model(f"{address}/v2.zip"), target)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("served", [DATA[:-1], DATA + b"x", b"X" + DATA[1:], b""])
def test_another_file_leaves_the_earlier_one(device: DeviceClient, target: Path, tmp_path: Path, served: bytes) -> None:
    (tmp_path / "cdn").mkdir()
    (tmp_path / "cdn" / "v2.zip").write_bytes(served)
    with serve_folder(tmp_path / "cdn") as address, pytest.raises(DamagedDownloadError):
        device.download(describe_model(f"{address}/v2.zip"), target)
    expect_unchanged(target)


def test_an_address_without_a_file_or_a_host_leaves_the_earlier_one(
    device: DeviceClient, target: Path, tmp_path: Path
) -> None:
    with serve_folder(tmp_path) as address, pytest.raises(ProblemReceivedError, match="404"):
        device.download(describe_model(f"{address}/missing.zip"), target)
    with pytest.raises(InputError, match=r"release\.public_url"):
        device.download(describe_model("releases/v2/model.zip"), target)
    expect_unchanged(target)


def test_a_cut_connection_is_an_outage_and_the_token_is_not_sent(device: DeviceClient, target: Path) -> None:
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_half() -> None:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(65_536))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DATA) + DATA[:1_000])

        thread = threading.Thread(target=answer_half)
        thread.start()
        with pytest.raises(ServiceUnreachableError, match="cut off"):
            device.download(describe_model(f"http://127.0.0.1:{listener.getsockname()[1]}/v2.zip"), target)
        thread.join()
    assert b"a secret" not in received[0]
    expect_unchanged(target)
