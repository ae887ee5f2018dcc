"""The application as a client sees it: health, problems, and what its OpenAPI document says."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from habla_ml.service.app import create_app
from habla_ml.service.problems import PROBLEM_MEDIA_TYPE
from habla_ml.service.state import ServiceState
from habla_ml_tests.testing.deployment_settings import write_settings


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(ServiceState(write_settings(tmp_path)))


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


def test_a_fresh_deployment_is_ready(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}


def test_an_unknown_address_and_a_wrong_method_are_problems(client: TestClient) -> None:
    for answer, name in ((client.get("/nothing"), "not-found"), (client.delete("/healthz"), "method-not-allowed")):
        assert answer.headers["content-type"] == PROBLEM_MEDIA_TYPE
        assert answer.json()["type"] == f"/problems/{name}"
        assert answer.json()["status"] == answer.status_code
        assert answer.json()["retryable"] is False


def test_a_database_that_cannot_be_used_is_retryable_and_says_when(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "service.sqlite").mkdir()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["retryable"], answer.headers["retry-after"]) == (503, True, "30")


def test_the_openapi_document_is_served(client: TestClient) -> None:
    assert client.get("/v1/openapi.json").json()["openapi"].startswith("3.1")
