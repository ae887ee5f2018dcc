"""What every page has: its headers, its language, its files, and errors that a person can read."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from habla_ml.service.app import create_app
from habla_ml.service.state import ServiceState
from habla_ml_tests.testing.deployment_settings import write_settings

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return TestClient(
        create_app(ServiceState(write_settings(tmp_path))), "http://127.0.0.1:8787", client=("127.0.0.1", 50_000)
    )


def test_a_page_allows_no_inline_script_no_other_host_and_no_frame_around_it(client: TestClient) -> None:
    answer = client.get("/", headers=BROWSER)
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert re.search(r"<(script(?! src)|style)| style=| on\w+=|https?://", answer.text) is None


def test_a_page_is_in_the_language_that_the_browser_asks_for(client: TestClient) -> None:
    assert '<html lang="es">' in client.get("/", headers={**BROWSER, "Accept-Language": "es-ES"}).text
    assert '<html lang="en">' in client.get("/", headers={**BROWSER, "Accept-Language": "en-IE"}).text


def test_every_file_of_a_page_can_be_kept_for_ever_and_has_no_other_address(client: TestClient) -> None:
    found = re.findall(r'"(/static/[^"]+)"', client.get("/", headers=BROWSER).text)
    assert len(found) == 3
    for address in found:
        answer = client.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert client.get(address.replace("/static/", "/static/0")).status_code == 404
    assert client.get("/static/0/..%2Flayout.py").status_code == 404


def test_a_browser_gets_an_error_as_a_page_and_a_program_as_a_problem(client: TestClient) -> None:
    page = client.get("/nothing", headers={**BROWSER, "Accept-Language": "en"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such page" in page.text
    assert page.headers["content-security-policy"]
    for answer in (client.get("/nothing"), client.get("/v1/nothing", headers=BROWSER)):
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_service_behind_https_says_so_to_the_browser(tmp_path: Path) -> None:
    settings = write_settings(tmp_path, service={"public_url": "https://habla.example"})
    client = TestClient(create_app(ServiceState(settings)), "https://habla.example")
    assert client.get("/sign-in", headers=BROWSER).headers["strict-transport-security"] == "max-age=31536000"
