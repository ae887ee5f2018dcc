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


def test_each_operation_answer_and_sent_value_is_described(document: dict[str, Any]) -> None:
    operations = list_operations(document)
    names = [each["operationId"] for each in operations]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and "v1" not in name for name in names)
    for operation in operations:
        assert operation["summary"], operation["operationId"]
        assert operation["description"], operation["operationId"]
        for status, each in operation["responses"].items():
            assert each["description"] not in ("", "Successful Response"), (operation["operationId"], status)
        for each in operation.get("parameters", ()):
            assert each.get("description"), (operation["operationId"], each["name"])
    schemas = document["components"]["schemas"]
    data_point = schemas["Batch"]["properties"]["items"]["items"]["anyOf"][0]
    for schema in (schemas["ConsentRequest"], schemas["EnrolmentRequest"], data_point):
        for name, each in schema["properties"].items():
            assert {"description", "examples"} & set(each), (schema["title"], name)


def test_each_status_names_its_problems_with_an_example(document: dict[str, Any]) -> None:
    paths = document["paths"]
    bad_clip = paths["/v1/clips/{clip_id}"]["put"]["responses"]["400"]
    assert set(bad_clip["content"][PROBLEM_MEDIA_TYPE]["examples"]) == {"digest-mismatch", "bad-request"}
    early_consent = paths["/v1/consents"]["post"]["responses"]["409"]
    assert "Retry-After" in early_consent["headers"]
    for operation in list_operations(document):
        for status, each in operation["responses"].items():
            for example in each.get("content", {}).get(PROBLEM_MEDIA_TYPE, {}).get("examples", {}).values():
                assert f"`{example['value']['type']}`" in each["description"]
                assert str(example["value"]["status"]) == status


def test_generators_of_clients_get_headers_as_strings_and_bodies_as_bytes(document: dict[str, Any]) -> None:
    clip = document["paths"]["/v1/clips/{clip_id}"]["put"]
    schemas = {each["name"]: each["schema"] for each in clip["parameters"]}
    assert {each["type"] for each in schemas.values()} == {"string"}
    assert (
        "format" not in schemas["habla-recorded-at"]
    )  # openapi-python-client leaves an operation with such a header out
    body = clip["requestBody"]["content"]["application/octet-stream"]["schema"]
    assert body == {"type": "string", "format": "binary"}


def test_the_document_has_the_limits_and_the_address_of_the_deployment(tmp_path: Path) -> None:
    settings = {"public_url": "https://habla.example", "uploads": {"most_items_per_batch": 7}}
    document = ServiceUnderTest(tmp_path, settings).client.get("/v1/openapi.json").json()
    assert "7 items" in document["info"]["description"].replace("\n", " ")
    assert document["servers"] == [{"url": "https://habla.example"}]


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
