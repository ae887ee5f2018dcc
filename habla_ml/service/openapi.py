"""The OpenAPI document: what FastAPI derives from the routes, and the problems that every operation can answer with."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from habla_ml.service.problems import (
    BAD_REQUEST,
    INTERNAL,
    INVALID,
    TOO_LARGE,
    TOO_MANY,
    TOO_SLOW,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNSUPPORTED,
    Problem,
    describe_problems,
)

_PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "RFC 9457. Clients act on `type` and `retryable`; the other texts may change.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "retryable"],
    "properties": {
        "type": {"type": "string", "pattern": "^/problems/[a-z-]+$"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "retryable": {"type": "boolean", "description": "Whether the same request can succeed later."},
    },
}
_DERIVED_SCHEMAS: Final = ("HTTPValidationError", "ValidationError")
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
}


def add_openapi_document(app: FastAPI) -> None:
    """Serve a document that has the problems of all operations, also of routes that are added later."""

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            app.openapi_schema = complete_document(document)
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign]


def complete_document(document: dict[str, Any]) -> dict[str, Any]:
    """Add to each operation the problems that its parts imply, and take FastAPI's own description of errors away."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _DERIVED_SCHEMAS:
        schemas.pop(name, None)
    schemas["Problem"] = _PROBLEM_SCHEMA
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict):
                _complete_operation(operation)
    return document


def _complete_operation(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    described = responses.get("422", {}).get("content", {}).get("application/json", {}).get("schema", {})
    is_validated = "422" in responses
    if described.get("$ref", "").endswith(_DERIVED_SCHEMAS[0]):
        del responses["422"]
    implied: list[Problem] = [TOO_MANY, INTERNAL, UNAVAILABLE]
    if is_validated:
        implied.append(INVALID)
    if operation.get("security"):
        implied.append(UNAUTHENTICATED)
    if "requestBody" in operation:
        implied += [BAD_REQUEST, TOO_LARGE, TOO_SLOW, UNSUPPORTED]
    for status, response in describe_problems(*implied).items():
        responses.setdefault(str(status), response)
    for status in (TOO_MANY.status, UNAVAILABLE.status):
        responses[str(int(status))].setdefault("headers", _RETRY_AFTER)
