"""Errors as pages: a browser gets a sentence and a way on where a program gets `application/problem+json`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from habla_ml.errors import HablaError
from habla_ml.service.pages.layout import mark_message, redirect_to, render_page
from habla_ml.service.problems import ProblemError

SIGN_IN_PATH: Final = "/sign-in"
_SENTENCES: Final[Mapping[str, str]] = {
    "forbidden": mark_message("Your account may not do this. Ask the person who invited you."),
    "not-found": mark_message("There is no such page. It may have been removed, or the address has a typing error."),
    "too-many": mark_message("Too many attempts. Wait a minute, then try again."),
    "unavailable": mark_message("The data cannot be read at the moment. Nothing is lost. Try again in a minute."),
    "conflict": mark_message(
        "Another person changed this meanwhile. Load the page again and look before you repeat it."
    ),
    "release-refused": mark_message(
        "The release stays as it is: files of the one you chose are missing, or the right key is not here. Tell the technician."
    ),
    "internal": mark_message("Something failed on our side. Nothing that you saved is lost. Try again later."),
}
_EXPLAINED: Final = "release-refused"
"""Its detail is for a person: what is missing, and what to run."""
_OTHER_SENTENCE: Final = mark_message("The page did not understand this request. Go back and try again.")

_Handler = Callable[[Request, Exception], Awaitable[Response]]


def add_page_errors(app: FastAPI) -> None:
    """Let the handlers of problems, which must be there already, answer browsers with pages."""
    for kind in (ProblemError, RequestValidationError, HTTPException, HablaError, Exception):
        app.exception_handlers[kind] = _answer_browsers(app.exception_handlers[kind])


def _answer_browsers(answer: Callable[[Request, Any], Any]) -> _Handler:
    async def answer_with_page(request: Request, error: Exception) -> Response:
        response: Response = await answer(request, error)
        is_for_program = request.url.path.startswith("/v1/") or "text/html" not in request.headers.get("accept", "")
        return response if is_for_program else _make_page(request, response)

    return answer_with_page


def _make_page(request: Request, response: Response) -> Response:
    state = request.app.state.service
    problem = json.loads(bytes(response.body))
    if response.status_code == 401:
        here = request.url.path if request.method == "GET" else "/"
        return redirect_to(state, SIGN_IN_PATH if here == "/" else f"{SIGN_IN_PATH}?next={quote(here)}")
    name = problem["type"].rpartition("/")[2]
    sentence = _SENTENCES.get(name, _OTHER_SENTENCE)
    detail = problem["detail"] if name == _EXPLAINED else ""
    page = render_page(request, state, "error.html.j2", status=response.status_code, sentence=sentence, detail=detail)
    if "retry-after" in response.headers:
        page.headers["Retry-After"] = response.headers["retry-after"]
    return page
