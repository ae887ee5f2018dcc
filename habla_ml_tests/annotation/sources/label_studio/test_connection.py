"""Connections as schools have them: an own certificate authority, a proxy, a redirect to https, a hostile server."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from habla_ml.annotation.sources.label_studio import client as client_module
from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.annotation.sources.label_studio.connection import find_proxy
from habla_ml.errors import ServiceError, SettingsError
from habla_ml_tests.testing.tls_servers import (
    CertificateAuthority,
    Reply,
    SentRequest,
    WebServer,
    run_proxy,
    run_web_server,
)

PROJECT = {"id": 1, "title": "t", "created_at": "2026-01-01T00:00:00Z", "label_config": "<View/>"}
BODIES = {"/api/projects": PROJECT, "/api/users": [{"id": 7, "email": "ana@example.org"}], "/health": {"status": "UP"}}
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NO_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority.create(tmp_path_factory.mktemp("ca"))


def answer(sent: SentRequest) -> Reply:
    return Reply(body=json.dumps(BODIES[sent.path.partition("?")[0]]).encode())


@pytest.fixture
def secure(authority: CertificateAuthority) -> Iterator[WebServer]:
    with run_web_server(answer, authority.issue("127.0.0.1", "127.0.0.1", "label.test")) as server:
        yield server


def open_client(url: str) -> LabelStudio:
    return LabelStudio(url, "secret", patience_s=0.3)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_an_own_certificate_authority_is_trusted_where_a_variable_names_it(
    secure: WebServer, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(authority.file))
    with open_client(f"https://127.0.0.1:{secure.port}") as server:
        assert server.list_users() == {7: "ana@example.org"}
        assert server.create_project("t", "", "<View/>").id == 1


def test_folders_of_certificates_are_trusted_as_openssl_names_their_files(
    tmp_path: Path, secure: WebServer, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl to name the file of a certificate")
    named = subprocess.run([program, "x509", "-hash", "-noout", "-in", authority.file], capture_output=True, check=True)
    shutil.copyfile(authority.file, tmp_path / f"{named.stdout.decode().strip()}.0")
    for value in (str(tmp_path), os.pathsep.join([str(tmp_path.parent), str(tmp_path)])):
        monkeypatch.setenv("SSL_CERT_DIR", value)
        with open_client(f"https://127.0.0.1:{secure.port}") as server:
            assert server.list_users() == {7: "ana@example.org"}


def test_a_certificate_that_is_not_trusted_is_refused_at_once_with_the_next_step(
    secure: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = LabelStudio(f"https://127.0.0.1:{secure.port}", "secret", patience_s=60.0)
    start = time.monotonic()
    with (
        patient as server,
        pytest.raises(ServiceError, match=r"certificate is not trusted \(.*\); set SSL_CERT_FILE to"),
    ):
        server.list_users()
    assert time.monotonic() - start < 10
    assert secure.received == []


def test_a_certificate_for_another_name_is_refused(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with (
        run_web_server(answer, authority.issue("label.test")) as other,
        open_client(f"https://127.0.0.1:{other.port}") as server,
        pytest.raises(ServiceError, match=r"set annotation\.label_studio\.url to a name in the certificate"),
    ):
        server.list_users()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_variable_without_certificates_is_an_error_with_its_name(
    tmp_path: Path, secure: WebServer, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with open_client(f"https://127.0.0.1:{secure.port}") as server, pytest.raises(SettingsError, match="SSL_CERT_FILE"):
        server.list_users()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_behind_a_redirect_to_https_every_method_and_body_arrives_and_no_token_is_sent_in_clear(
    secure: WebServer, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    def redirect(sent: SentRequest) -> Reply:
        return Reply(status, headers={"Location": f"https://127.0.0.1:{secure.port}{sent.path}"})

    with run_web_server(redirect) as plain, open_client(f"http://127.0.0.1:{plain.port}") as server:
        assert server.create_project("t", "", "<View/>").id == 1
        server.list_users()
    assert [(each.method, each.path, each.token) for each in plain.received] == [("GET", "/health", None)]
    methods = [(each.method, each.path, each.token) for each in secure.received]
    assert methods == [("POST", "/api/projects", "Token secret"), ("GET", "/api/users", "Token secret")]
    assert json.loads(secure.received[0].body)["title"] == "t"


def test_an_address_below_a_path_keeps_the_path_behind_a_redirect(
    secure: WebServer, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    secure.answer = lambda sent: Reply(body=b"[]")

    def redirect(sent: SentRequest) -> Reply:
        return Reply(301, headers={"Location": f"https://127.0.0.1:{secure.port}{sent.path}"})

    with run_web_server(redirect) as plain, open_client(f"http://127.0.0.1:{plain.port}/label") as server:
        assert server.list_users() == {}
    assert [each.path for each in secure.received] == ["/label/api/users"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
def test_a_redirect_to_another_host_gets_no_token(host: str) -> None:
    with run_web_server(answer) as other:
        location = f"https://{host}:{other.port}"
        with (
            run_web_server(lambda sent: Reply(302, headers={"Location": location + sent.path})) as plain,
            open_client(f"http://127.0.0.1:{plain.port}") as server,
            pytest.raises(ServiceError, match=r"the token is sent only to the configured host; set annotation"),
        ):
            server.create_project("t", "", "<View/>")
        assert [each.token for each in plain.received] == [None]
        assert other.received == []


def test_a_redirect_from_https_to_http_is_refused(
    secure: WebServer, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with run_web_server(answer) as plain:
        location = f"http://127.0.0.1:{plain.port}/api/users"
        secure.answer = lambda _: Reply(301, headers={"Location": location})
        with (
            open_client(f"https://127.0.0.1:{secure.port}") as server,
            pytest.raises(ServiceError, match="could read the token"),
        ):
            server.list_users()
        assert plain.received == []


def test_a_redirect_in_a_circle_or_to_another_port_is_refused(
    secure: WebServer, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    for port in (secure.port, secure.port + 1):
        secure.answer = lambda sent, port=port: Reply(301, headers={"Location": f"https://127.0.0.1:{port}{sent.path}"})  # type: ignore[misc]
        with (
            open_client(f"https://127.0.0.1:{secure.port}") as server,
            pytest.raises(ServiceError, match="redirects to"),
        ):
            server.list_users()


def test_a_proxy_carries_https_and_cannot_read_the_token(
    secure: WebServer, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with run_proxy(secure.port) as (proxy, wanted):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with open_client("https://label.test") as server:
            assert server.list_users() == {7: "ana@example.org"}
        assert wanted == ["label.test:443"]
        with open_client(f"https://127.0.0.1:{secure.port}") as server:
            server.list_users()
        assert wanted == ["label.test:443"]  # this machine needs no proxy


def test_a_proxy_that_is_down_or_malformed_is_an_error_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy, kind in (("http://ana:hidden@127.0.0.1:9", ServiceError), ("gopher://ana:hidden@proxy", SettingsError)):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with (
            open_client("https://label.test") as server,
            pytest.raises(kind, match="proxy of the environment") as refused,
        ):
            server.list_users()
        assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_direct"),
    [
        ("https://label.example.org", "", False),
        ("https://label.example.org", "example.org", True),
        ("https://label.example.org", ".example.org", True),
        ("https://label.example.org", "ample.org", False),
        ("https://label.example.org", "*", True),
        ("https://192.168.3.4", "192.168.0.0/16", True),
        ("https://10.0.0.1", "192.168.0.0/16, fd00::/8", False),
        ("https://[fd00::1]", "192.168.0.0/16, fd00::/8", True),
        ("http://localhost:8082", "", True),
        ("http://127.0.0.1:8082", "", True),
        ("http://[::1]:8082", "", True),
    ],
)
def test_no_proxy_names_the_servers_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, no_proxy: str, is_direct: bool
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example.org:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert find_proxy(httpx.URL(url)) == (None if is_direct else "http://proxy.example.org:3128")


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(chunks=itertools.repeat(b" " * 65_536)), "responds with more than 64 MiB"),
        (Reply(body=gzip.compress(b" " * (65 << 20)), headers={"Content-Encoding": "gzip"}), "more than 64 MiB"),
        (Reply(body=b"x", headers={"Content-Encoding": "br"}), "a compression that was not asked for"),
        (Reply(body=b"[" + b"{}," * 1_200_000 + b"{}]"), "JSON values, more than"),
        (Reply(body=b"[" * 100_000), "nested too deeply"),
        (Reply(body=b'{"users": 1}'), "no valid Label Studio response"),
        (Reply(body=b"<html>"), "is not JSON"),
        (Reply(status=303, headers={"Location": "https://127.0.0.1/x"}), "HTTP 303"),
    ],
)
def test_a_hostile_response_is_refused(reply: Reply, message: str) -> None:
    answers = itertools.chain([Reply(status=404)], itertools.repeat(reply))
    with (
        run_web_server(lambda _: next(answers)) as plain,
        open_client(f"http://127.0.0.1:{plain.port}") as server,
        pytest.raises(ServiceError, match=message),
    ):
        server.list_users()


def test_a_listing_that_repeats_its_page_ends_with_an_error() -> None:
    page = {"tasks": [{"id": number, "data": {}} for number in range(1, 1_001)]}
    with (
        run_web_server(lambda _: Reply(body=json.dumps(page).encode())) as plain,
        open_client(f"http://127.0.0.1:{plain.port}") as server,
        pytest.raises(ServiceError, match="repeats its pages"),
    ):
        list(server.list_tasks(1))
    assert len(plain.received) == 3  # the probe, the page, and the page again


def test_changes_that_repeat_their_page_end_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_MAX_PAGES_WITHOUT_NEWS", 5)
    page = {"tasks": [{"id": 1, "updated_at": "2026-01-01T00:00:00Z"}]}
    with (
        run_web_server(lambda _: Reply(body=json.dumps(page).encode())) as plain,
        open_client(f"http://127.0.0.1:{plain.port}") as server,
        pytest.raises(ServiceError, match="repeats its pages"),
    ):
        list(server.iterate_changed_tasks(1, datetime(2025, 1, 1, tzinfo=UTC), 1))
    assert len(plain.received) < 10
