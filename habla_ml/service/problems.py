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
    """A kind of error: the last part of `type`, status, title, what a client does, and whether a repeat can succeed."""

    name: str
    status: HTTPStatus
    title: str
    next_step: str = "Correct the request."
    retryable: bool = False

    @property
    def type(self) -> str:
        """The stable identifier; a relative reference, so that it does not name a host (RFC 9457 section 3.1.1)."""
        return f"/problems/{self.name}"


UNAUTHENTICATED: Final = Problem(
    "unauthenticated",
    HTTPStatus.UNAUTHORIZED,
    "A valid token or code is missing",
    "Ask the person for a new code, and enrol the device again.",
)
FORBIDDEN: Final = Problem(
    "forbidden", HTTPStatus.FORBIDDEN, "Another device or a person uses this pseudonym", "Make another pseudonym."
)
NOT_FOUND: Final = Problem("not-found", HTTPStatus.NOT_FOUND, "Not found", "Read in `detail` what is not there.")
METHOD_NOT_ALLOWED: Final = Problem(
    "method-not-allowed", HTTPStatus.METHOD_NOT_ALLOWED, "The address has other methods", "Correct the request."
)
CONFLICT: Final = Problem(
    "conflict",
    HTTPStatus.CONFLICT,
    "The id is used for other content, or the consent is older than a withdrawal",
    "Send the content under a new id; ask the person again for an old consent.",
)
ERASED: Final = Problem("erased", HTTPStatus.GONE, "The clip was erased", "Delete it on the device too.")
CLIP_MISSING: Final = Problem(
    "clip-missing",
    HTTPStatus.CONFLICT,
    "The clip has not come yet",
    "Send the clip, then the item again.",
    retryable=True,
)
CLOCK_AHEAD: Final = Problem(
    "clock-ahead",
    HTTPStatus.CONFLICT,
    "The time is more than 10 minutes in the future",
    "Correct the device's clock, then send the consent with the right time.",
    retryable=True,
)
ERASURE_PENDING: Final = Problem(
    "erasure-pending",
    HTTPStatus.CONFLICT,
    "The data of an earlier withdrawal are not erased yet",
    "Send the same consent again after the seconds of `Retry-After`.",
    retryable=True,
)
TOO_LARGE: Final = Problem(
    "too-large",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "The body is too large",
    "Send less at once; `detail` has the bound.",
)
UNSUPPORTED: Final = Problem(
    "unsupported-media-type",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "The body is compressed or a form",
    "Send it without compression, and a clip as the bytes of its file.",
)
TOO_SLOW: Final = Problem(
    "too-slow",
    HTTPStatus.REQUEST_TIMEOUT,
    "The body came too slowly",
    "Send it again over a faster network.",
    retryable=True,
)
DIGEST_MISMATCH: Final = Problem(
    "digest-mismatch",
    HTTPStatus.BAD_REQUEST,
    "The body differs from its digest",
    "Send the file again: it was damaged on the way.",
    retryable=True,
)
INVALID: Final = Problem(
    "invalid", HTTPStatus.UNPROCESSABLE_ENTITY, "A value is wrong", "Correct what `faults` or `detail` names."
)
BAD_REQUEST: Final = Problem(
    "bad-request", HTTPStatus.BAD_REQUEST, "The request is malformed", "Correct what `detail` names."
)
NO_CONSENT: Final = Problem(
    "no-consent",
    HTTPStatus.FORBIDDEN,
    "The contributor has not consented",
    "Record a consent that stands, then send the same again. Until then keep it on the device.",
)
TOO_MANY: Final = Problem(
    "too-many",
    HTTPStatus.TOO_MANY_REQUESTS,
    "Too many requests, bytes or wrong codes",
    "Send the same again after the seconds of `Retry-After`.",
    retryable=True,
)
UNAVAILABLE: Final = Problem(
    "unavailable",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The service cannot be used at the moment",
    "Send the same again after the seconds of `Retry-After`.",
    retryable=True,
)
INTERNAL: Final = Problem(
    "internal",
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "The service failed",
    "Send the same again after a minute; if it fails again, tell the operator of the service.",
    retryable=True,
)
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
        found = described.setdefault(int(each.status), {"description": "", "content": {PROBLEM_MEDIA_TYPE: {}}})
        add_problem(found, each)
    return described


def add_problem(response: dict[str, Any], problem: Problem) -> None:
    """Add a problem to a response of the OpenAPI document, once."""
    content = response["content"][PROBLEM_MEDIA_TYPE]
    examples = content.setdefault("examples", {})
    if problem.name not in examples:
        text = f"`{problem.type}`: {problem.title}. {problem.next_step}"
        response["description"] = "\n\n".join(filter(None, (response["description"], text)))
        examples[problem.name] = {"value": _build_content(problem, problem.next_step)}
        content["schema"] = {"$ref": PROBLEM_SCHEMA_REFERENCE}


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
    content = {**_build_content(problem, detail), **members}
    if problem is UNAUTHENTICATED:
        headers = {"WWW-Authenticate": "Bearer", **(headers or {})}
    return JSONResponse(content, int(problem.status), headers=dict(headers or {}), media_type=PROBLEM_MEDIA_TYPE)


def _build_content(problem: Problem, detail: str) -> dict[str, Any]:
    return {
        "type": problem.type,
        "title": problem.title,
        "status": int(problem.status),
        "detail": detail,
        "retryable": problem.retryable,
    }


def describe_wrong_value(fault: Mapping[str, Any]) -> str:
    """Return what pydantic says is wrong with a value, without the value: it can be a transcript."""
    return str(fault["msg"]).removeprefix("Value error, ")


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
        faults = [
            {"at": make_printable(".".join(map(str, each["loc"]))), "fault": describe_wrong_value(each)}
            for each in error.errors()[:20]
        ]
        return build_problem_response(
            INVALID, f"wrong values: {len(faults)}; correct those that `faults` names", faults=faults
        )

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
