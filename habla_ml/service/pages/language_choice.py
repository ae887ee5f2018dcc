"""The switch of the language, on every page: kept in the browser, and in the account of a person who has one."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response

from habla_ml.inbox.accounts import set_account_language
from habla_ml.service.pages.current_account import find_current_account
from habla_ml.service.pages.languages import LANGUAGES
from habla_ml.service.pages.layout import LANGUAGE_COOKIE, redirect_to
from habla_ml.service.pages.origin import choose_own_path
from habla_ml.service.problems import INVALID, ProblemError
from habla_ml.service.state import State

_KEPT_S: Final = 365 * 24 * 3600

router = APIRouter(include_in_schema=False)


@router.post("/language")
def choose_page_language(
    request: Request,
    state: State,
    language: Annotated[str, Form(max_length=5)],
    next_path: Annotated[str, Form(alias="next", max_length=200)] = "/",
) -> Response:
    """Show the page again in the other language, and all pages from now on."""
    account = find_current_account(request, state)
    if language not in LANGUAGES:
        raise ProblemError(INVALID, f"language is not one of {', '.join(LANGUAGES)}")
    if account is not None and not account.is_local:
        set_account_language(state.database, account.account_id, language)
    response = redirect_to(state, choose_own_path(next_path))
    # The sign-in page has it too, where no account is known yet.
    response.set_cookie(
        LANGUAGE_COOKIE,
        language,
        max_age=_KEPT_S,
        secure=state.settings.service.is_encrypted,
        httponly=True,
        samesite="lax",
    )
    return response
