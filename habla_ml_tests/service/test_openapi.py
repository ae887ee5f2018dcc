"""The OpenAPI document is true: generated requests to every operation get only what it documents."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from habla_ml.service.problems import PROBLEM_MEDIA_TYPE
from habla_ml_tests.testing.service_client import ServiceUnderTest


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = ServiceUnderTest(tmp_path).client.get("/v1/openapi.json").json()
    return found


def list_operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_every_error_of_every_operation_is_a_problem(document: dict[str, Any]) -> None:
    for operation in list_operations(document):
        errors = {status: each for status, each in operation["responses"].items() if status >= "400"}
        assert {"429", "500", "503"} <= set(errors), operation["operationId"]
        for status, each in errors.items():
            assert list(each["content"]) == [PROBLEM_MEDIA_TYPE], (operation["operationId"], status)
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_an_operation_for_devices_documents_the_missing_token(document: dict[str, Any]) -> None:
    for operation in list_operations(document):
        if operation.get("security"):
            assert "401" in operation["responses"], operation["operationId"]


@pytest.mark.slow
@pytest.mark.parametrize("is_enrolled", [False, True])
def test_generated_requests_get_what_the_document_says(tmp_path: Path, is_enrolled: bool) -> None:
    many = 1_000_000_000
    limits = {"device_requests_per_minute": many, "address_requests_per_minute": many}
    service = ServiceUnderTest(tmp_path, {"uploads": limits})
    headers = service.authorise() if is_enrolled else {}
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", service.app)
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        for mode in GenerationMode:
            check_operation(found.ok(), mode, service, headers)


def check_operation(
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    service: ServiceUnderTest,
    headers: dict[str, str],
) -> None:
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
        return
    # No schema can state that a digest belongs to the body.
    has_digest = any(each.name.lower() == "content-digest" for each in operation.headers)
    excluded: list[Any] = [positive_data_acceptance] if has_digest else []

    @given(operation.as_strategy(mode))
    @settings(max_examples=15, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(case: Case[Any]) -> None:
        # Schemathesis tries wrong tokens too, and those are limited.
        service.now += timedelta(minutes=5)
        case.call_and_validate(headers=headers, excluded_checks=excluded)

    check()
