"""The server as `habla-ml serve` runs it: real sockets, several workers, slow and huge requests, signals."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from habla_ml.errors import SettingsError
from habla_ml.inbox.database import open_database
from habla_ml.inbox.devices import create_enrolment_code
from habla_ml.service.server import find_exposure_warnings, open_listener
from habla_ml.settings import Settings
from habla_ml.settings.service import ServiceSettings
from habla_ml_tests.testing.deployment_settings import write_settings
from habla_ml_tests.testing.serve_process import ServeProcess

LIMITS = {"body_timeout_s": 0.5, "address_requests_per_minute": 100}

PROXY = "127.0.0.2"


def start_server(folder: Path, workers: int, **service: Any) -> ServeProcess:
    return ServeProcess(folder, {"workers": workers, "uploads": LIMITS, **service}, head_timeout_s=1.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    running = start_server(tmp_path_factory.mktemp("server"), workers=2)
    yield running
    status, output = running.stop()
    assert status == 0
    assert output.splitlines()[0] == f"serving at http://127.0.0.1:{running.port} (Ctrl+C ends it)"
    assert output.splitlines()[-1].startswith("ended")


def read_total(server: ServeProcess, route: str) -> float:
    lines = server.get("/metrics").text.splitlines()
    prefix = f'habla_requests_total{{method="GET",route="{route}"'
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(prefix))


def read_all(connection: socket.socket) -> bytes:
    received = b""
    try:
        while part := connection.recv(65_536):
            received += part
    except ConnectionResetError:
        pass
    return received


@pytest.mark.long
def test_workers_count_together_in_metrics(server: ServeProcess) -> None:
    before = read_total(server, "/readyz")
    for _ in range(30):
        assert server.get("/readyz").status_code == 200
    assert read_total(server, "/readyz") == before + 30
    logged = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert len([each for each in logged if each.get("route") == "/readyz"]) == before + 30


@pytest.mark.long
def test_workers_share_one_limit_of_wrong_codes(server: ServeProcess) -> None:
    url = f"http://127.0.0.1:{server.port}/v1/devices"
    statuses = [httpx.post(url, json={"code": "x"}).status_code for _ in range(24)]
    assert statuses == [401] * 20 + [429] * 4


def test_the_log_has_neither_paths_nor_bodies_nor_secrets(server: ServeProcess) -> None:
    secret = "5b0f7d2e-secret"  # noqa: S105 (looked for in the log)
    url = f"http://127.0.0.1:{server.port}"
    httpx.put(f"{url}/v1/clips/{secret}?q={secret}", content=secret, headers={"Authorization": f"Bearer {secret}"})
    httpx.post(f"{url}/v1/devices", json={"code": secret}, headers={"X-Request-ID": secret})
    httpx.request(f"A{secret}", f"{url}/{secret}")
    server.get("/healthz")
    assert secret not in server.log.read_text()
    assert secret not in server.get("/metrics").text


def test_headers_without_bound_close_the_connection(server: ServeProcess) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            connection.sendall((b"X-A: " + b"b" * 10_000 + b"\r\n") * 1_000)
    assert server.get("/healthz").status_code == 200


def test_a_body_that_never_ends_is_refused_in_time(server: ServeProcess) -> None:
    head = b"POST /v1/devices HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    with server.connect() as connection:
        connection.sendall(head)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"/problems/too-slow" in answer


def test_a_body_that_is_cut_off_leaves_the_service_well(server: ServeProcess) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /v1/devices HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert server.get("/readyz").status_code == 200
    assert '"level": "error"' not in server.log.read_text()


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /../../etc/passwd HTTP/1.1",
        b"GET /static/../../etc/passwd HTTP/1.1",
        b"GET /static/%2e%2e/%2e%2e%2fetc%2fpasswd HTTP/1.1",
        b"GET //healthz HTTP/1.1",
        b"GET /healthz%00 HTTP/1.1",
        b"GET /v1/clips/..%2f..%2fservice.sqlite HTTP/1.1",
        b"TRACE /healthz HTTP/1.1",
        b"GET /v1/openapi.json/ HTTP/1.1",
    ],
)
def test_tricks_in_a_path_find_nothing(server: ServeProcess, request_line: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        status = int(read_all(connection).split(b" ")[1])
    assert status in (400, 404, 405)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Content-Length: -1\r\n",
        b"X A: b\r\n",
        b"X-A: b\x00c\r\n",
        b" folded: b\r\n",
    ],
)
def test_tricks_in_headers_are_refused(server: ServeProcess, head: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /v1/devices HTTP/1.1\r\nHost: x\r\n" + head + b"Connection: close\r\n\r\nx")
        assert read_all(connection).split(b" ")[1] == b"400"


def test_a_port_in_use_is_a_clear_error(server: ServeProcess) -> None:
    with pytest.raises(SettingsError, match=rf"127\.0\.0\.1 port {server.port}: Address already in use"):
        open_listener("127.0.0.1", server.port)


def check_that_unfinished_headers_end_the_connection(server: ServeProcess) -> None:
    with server.connect() as connection:
        began = time.monotonic()
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        for _ in range(3):
            time.sleep(0.2)
            connection.sendall(b"X-A: b\r\n")
        assert read_all(connection) == b""
        assert 0.9 < time.monotonic() - began < 10


def check_that_only_the_proxy_may_state_an_address(server: ServeProcess) -> None:
    def try_codes(peer: str, *stated: str) -> set[int]:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=peer)) as client:
            url = f"http://127.0.0.1:{server.port}/v1/devices"
            headers = [{"X-Forwarded-For": each, "X-Forwarded-Proto": "https", "X-Real-IP": each} for each in stated]
            return {client.post(url, json={"code": "x"}, headers=each).status_code for each in headers}

    others = [f"198.51.100.{number}" for number in range(20)]
    # The proxy's clients are counted one by one, also one that forges what is before its own address.
    assert try_codes(PROXY, *others) == {401}
    assert try_codes(PROXY, *(f"{each}, 203.0.113.7" for each in others)) == {401}
    assert try_codes(PROXY, "203.0.113.7", "192.0.2.200, 203.0.113.7") == {429}
    # Any other peer is itself, whatever it states: it can neither hide nor use up the attempts of a victim.
    assert try_codes("127.0.0.3", *["203.0.113.99"] * 20) == {401}
    assert try_codes("127.0.0.3", "203.0.113.100", PROXY, "127.0.0.1") == {429}
    assert try_codes(PROXY, "203.0.113.99") == try_codes("127.0.0.1", "203.0.113.99") == {401}
    # Nor does it become the person at the machine, or a program there.
    for path in ("/", "/metrics"):
        assert httpx.get(f"http://127.0.0.1:{server.port}{path}", headers={"X-Forwarded-For": "127.0.0.1"}).is_error


@pytest.mark.slow
def test_one_worker_believes_its_proxy_closes_unfinished_requests_and_ends_gracefully(tmp_path: Path) -> None:
    running = start_server(tmp_path, workers=1, trusted_proxies=[PROXY])
    check_that_only_the_proxy_may_state_an_address(running)
    check_that_unfinished_headers_end_the_connection(running)
    code = create_enrolment_code(open_database(running.settings), "a phone", datetime.now(UTC), timedelta(hours=1))
    answer = httpx.post(f"http://127.0.0.1:{running.port}/v1/devices", json={"code": code})
    assert answer.status_code == 201
    assert read_total(running, "/healthz") > 0
    assert running.stop()[0] == 0
    assert answer.json()["token"] not in running.log.read_text()


@pytest.mark.slow
def test_an_exposed_service_without_encryption_is_warned_about(tmp_path: Path) -> None:
    settings: Settings = write_settings(tmp_path)
    proxied = ServiceSettings(public_url="https://habla.example", trusted_proxies=("127.0.0.1",))
    assert find_exposure_warnings(settings.service) == find_exposure_warnings(proxied) == []
    for service, text in (
        (ServiceSettings(host="0.0.0.0"), "without encryption"),  # noqa: S104
        (ServiceSettings(public_url="http://habla.example", trusted_proxies=("127.0.0.1",)), "use https"),
        (ServiceSettings(public_url="https://a.example/b", trusted_proxies=("127.0.0.1",)), "a host name of its own"),
        (ServiceSettings(public_url="https://habla.example"), "share its limits"),
    ):
        assert [text in each for each in find_exposure_warnings(service)] == [True]
