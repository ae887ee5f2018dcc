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
    add_problem,
    describe_problems,
)
from habla_ml.settings.service import ServiceSettings

_GUIDE: Final = """\
Receives consents, clips and corrections from apps, and names the latest model.

1. The operator of the service makes a code for the device. `POST /v1/devices` exchanges it for a token.
2. `GET /v1/consent-documents` has the texts. Show one, then record the consent with `POST /v1/consents`.
3. `PUT /v1/clips/{{clip_id}}` sends each clip, and `POST /v1/batches` what the person made of the clips.
4. `DELETE /v1/consents/{{consent_id}}` withdraws. `GET` of the same address says when all is erased.
5. `GET /latest-model-info` names the model to install.

**Ids.** The device chooses the ids of consents, clips and data points: random UUIDs in lower case. (`UUID().uuidString` in
Swift is in upper case.) They belong to the device, so it can repeat every request with the same id without harm.

**Errors.** Each has the media type `application/problem+json` (RFC 9457). `type` is stable. If `retryable` is true, send the
same request again: after the seconds of `Retry-After` if the answer has it, else after waits that double and have a random
part. If it is false, first do the next step that the answer's problem has in this document.

**Limits of this deployment.** A clip has at most {largest_clip_bytes:,} bytes, any other body {largest_body_bytes:,} bytes,
and a batch {most_items_per_batch:,} items. Above that the answer is 413. A body must come within {body_timeout_s:g} s. A
device may send {device_requests_per_minute:,} requests a minute and {device_megabytes_per_day:,g} MB of clips a UTC day, and
a network address {address_requests_per_minute:,} requests a minute. Above that the answer is 429.

**Times** are RFC 3339 with a zone, from 1970 to 2199. Texts have at most 2,000 characters.
"""
_TAGS: Final = (
    {"name": "devices", "description": "Enrolment. A device has one token."},
    {"name": "consents", "description": "Consents, what is held of a contributor, and withdrawal."},
    {"name": "uploads", "description": "Clips, and corrections of clips."},
    {"name": "models", "description": "The model that an app should have."},
    {"name": "health", "description": "For the operator of the service."},
)
_PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "RFC 9457. Clients act on `type` and `retryable`; the other texts may change.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "retryable"],
    "properties": {
        "type": {
            "type": "string",
            "pattern": "^/problems/[a-z-]+$",
            "description": "The kind of problem. The answers of each operation have theirs. An app treats one that it does not "
            "know by its status.",
        },
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {
            "type": "string",
            "description": "What is wrong with this request, and the next step; for developers.",
        },
        "retryable": {"type": "boolean", "description": "Whether the same request can succeed later."},
        "faults": {
            "type": "array",
            "maxItems": 20,
            "description": "Only of `/problems/invalid`: the wrong values.",
            "items": {
                "type": "object",
                "required": ["at", "fault"],
                "properties": {"at": {"type": "string", "examples": ["body.minor"]}, "fault": {"type": "string"}},
            },
        },
        "failed": {
            "type": "array",
            "description": "Only of `/readyz`: what cannot be used.",
            "items": {"type": "string"},
        },
    },
}
_DERIVED_SCHEMAS: Final = ("HTTPValidationError", "ValidationError")
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
}


def add_openapi_document(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve a document that has the limits of the deployment and the problems of all operations, also of later routes."""

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=_GUIDE.format(**settings.uploads.model_dump()),
                routes=app.routes,
                tags=list(_TAGS),
                servers=None if settings.public_url is None else [{"url": settings.public_url}],
            )
            app.openapi_schema = complete_document(document)
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign]


def complete_document(document: dict[str, Any]) -> dict[str, Any]:
    """Add to each operation the problems that its parts imply, and take FastAPI's own description of errors away."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _DERIVED_SCHEMAS:
        schemas.pop(name, None)
    for schema in schemas.values():
        for each in schema.get("properties", {}).values():
            # FastAPI's titles are the names in other letters, such as Givenat.
            each.pop("title", None)
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
    for each in implied:
        status = str(int(each.status))
        if status not in responses:
            responses[status] = describe_problems(each)[int(each.status)]
        else:
            add_problem(responses[status], each)
    for response in responses.values():
        if "`Retry-After`" in response["description"]:
            response.setdefault("headers", _RETRY_AFTER)
