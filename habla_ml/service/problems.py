"""Errors of the API as RFC 9457 `application/problem+json`, with a stable `type` and whether a repeat can succeed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from habla_ml.errors import HablaError, InputUnavailableError, LakeError

if TYPE_CHECKING:
    from starlette.requests import Request

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
PROBLEM_SCHEMA_REFERENCE: Final = "#/components/schemas/Problem"
_LOG: Final = logging.getLogger(__name__)
_RETRY_AFTER_OUTAGE_S: Final = 30


@dataclass(frozen=True)
class Problem:
    """A kind of error: its name in the last part of `type`, its status, a title, and whether a repeat can succeed."""

    name: str
    status: HTTPStatus
    title: str
    retryable: bool = False

    @property
    def type(self) -> str:
        """The stable identifier; a relative reference, so that it does not name a host (RFC 9457 section 3.1.1)."""
        return f"/problems/{self.name}"


UNAUTHENTICATED: Final = Problem("unauthenticated", HTTPStatus.UNAUTHORIZED, "A valid token is missing")
FORBIDDEN: Final = Problem("forbidden", HTTPStatus.FORBIDDEN, "This is not allowed")
NOT_FOUND: Final = Problem("not-found", HTTPStatus.NOT_FOUND, "There is no such thing")
METHOD_NOT_ALLOWED: Final = Problem("method-not-allowed", HTTPStatus.METHOD_NOT_ALLOWED, "Use another method")
CONFLICT: Final = Problem("conflict", HTTPStatus.CONFLICT, "The same id is used for other content")
ERASED: Final = Problem("erased", HTTPStatus.GONE, "This was erased and is not stored again")
CLIP_MISSING: Final = Problem("clip-missing", HTTPStatus.CONFLICT, "The clip has not come yet", retryable=True)
CLOCK_AHEAD: Final = Problem(
    "clock-ahead", HTTPStatus.CONFLICT, "The time is in the future; set the device's clock", retryable=True
)
ERASURE_PENDING: Final = Problem(
    "erasure-pending", HTTPStatus.CONFLICT, "The data of an earlier withdrawal are not erased yet", retryable=True
)
TOO_LARGE: Final = Problem("too-large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large")
UNSUPPORTED: Final = Problem(
    "unsupported-media-type", HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is compressed or wrapped; send it plain"
)
TOO_SLOW: Final = Problem("too-slow", HTTPStatus.REQUEST_TIMEOUT, "The body came too slowly", retryable=True)
DIGEST_MISMATCH: Final = Problem(
    "digest-mismatch", HTTPStatus.BAD_REQUEST, "The body differs from its digest", retryable=True
)
INVALID: Final = Problem("invalid", HTTPStatus.UNPROCESSABLE_ENTITY, "A value is wrong")
BAD_REQUEST: Final = Problem("bad-request", HTTPStatus.BAD_REQUEST, "The request is malformed")
NO_CONSENT: Final = Problem("no-consent", HTTPStatus.FORBIDDEN, "The contributor has not consented")
TOO_MANY: Final = Problem("too-many", HTTPStatus.TOO_MANY_REQUESTS, "Too many requests", retryable=True)
UNAVAILABLE: Final = Problem("unavailable", HTTPStatus.SERVICE_UNAVAILABLE, "Try again later", retryable=True)
INTERNAL: Final = Problem("internal", HTTPStatus.INTERNAL_SERVER_ERROR, "The service failed", retryable=True)
_BY_STATUS: Final = {
    each.status: each
    for each in (
        UNAUTHENTICATED,
        FORBIDDEN,
        NOT_FOUND,
        METHOD_NOT_ALLOWED,
        CONFLICT,
        TOO_LARGE,
        UNSUPPORTED,
        TOO_SLOW,
        BAD_REQUEST,
    )
}


def describe_problems(*problems: Problem) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route in the OpenAPI document. Those that any route can have are added to all."""
    described: dict[int | str, dict[str, Any]] = {}
    for each in problems:
        before = described.get(int(each.status), {}).get("description")
        text = each.title if before is None else f"{before}, or: {each.title}"
        content = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": PROBLEM_SCHEMA_REFERENCE}}}
        described[int(each.status)] = {"description": text, "content": content}
    return described


class ProblemError(Exception):
    """Raised by a handler to answer with a problem. `detail` says thing, value, bound and next step, and no spoken word."""

    def __init__(
        self,
        problem: Problem,
        detail: str,
        retry_after_s: int | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.headers = {} if retry_after_s is None else {"Retry-After": str(max(1, retry_after_s))}
        self.members = members


def build_problem_response(
    problem: Problem, detail: str, headers: Mapping[str, str] | None = None, **members: Any
) -> JSONResponse:
    """Return the response to a problem; `members` are further keys of its JSON."""
    content = {
        "type": problem.type,
        "title": problem.title,
        "status": int(problem.status),
        "detail": detail,
        "retryable": problem.retryable,
        **members,
    }
    if problem is UNAUTHENTICATED:
        headers = {"WWW-Authenticate": "Bearer", **(headers or {})}
    return JSONResponse(content, int(problem.status), headers=dict(headers or {}), media_type=PROBLEM_MEDIA_TYPE)


def make_printable(text: str) -> str:
    """Return a text from a request, such as the name of a key, with escapes where it could not be sent back."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the API with a problem."""

    @app.exception_handler(ProblemError)
    async def answer_problem(_: Request, error: ProblemError) -> JSONResponse:
        return build_problem_response(error.problem, error.detail, error.headers, **error.members)

    @app.exception_handler(RequestValidationError)
    async def answer_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # The values are left out: they can be a transcript.
        faults = [
            {"at": make_printable(".".join(map(str, each["loc"]))), "fault": each["msg"]}
            for each in error.errors()[:20]
        ]
        return build_problem_response(INVALID, f"{len(faults)} values are wrong; see `faults`", faults=faults)

    @app.exception_handler(HTTPException)
    async def answer_http_error(_: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        problem = _BY_STATUS.get(status) or Problem(status.phrase.lower().replace(" ", "-"), status, status.phrase)
        return build_problem_response(problem, str(error.detail), error.headers)

    @app.exception_handler(HablaError)
    async def answer_habla_error(_: Request, error: HablaError) -> JSONResponse:
        if not isinstance(error, LakeError | InputUnavailableError):
            _LOG.exception("a request failed")
            return build_problem_response(INTERNAL, "The service failed; its log says why")
        _LOG.error("a request failed: %s", error)
        retry = {"Retry-After": str(_RETRY_AFTER_OUTAGE_S)}
        return build_problem_response(
            UNAVAILABLE, "The store, the database or the register cannot be used at the moment", retry
        )

    @app.exception_handler(Exception)
    async def answer_defect(_: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 (starlette logs it)
        return build_problem_response(INTERNAL, "The service failed; its log says why")
