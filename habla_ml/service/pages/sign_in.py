"""Sign in, sign out, and make an account from an invitation."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Request, Response

from habla_ml.errors import InputError
from habla_ml.inbox.accounts import (
    LONGEST_PASSWORD,
    SHORTEST_PASSWORD,
    Account,
    InvitationError,
    NameTakenError,
    accept_invitation,
    authenticate,
    end_sessions,
)
from habla_ml.inbox.typed_names import LONGEST_NAME
from habla_ml.names import canonical_name
from habla_ml.service.limits import limit_sign_in
from habla_ml.service.pages.current_account import CurrentAccount, find_current_account
from habla_ml.service.pages.error_pages import SIGN_IN_PATH
from habla_ml.service.pages.languages import LANGUAGES
from habla_ml.service.pages.layout import get_page_language, mark_message, redirect_to, render_page
from habla_ml.service.pages.origin import choose_own_path
from habla_ml.service.pages.sessions import forget_session, start_session
from habla_ml.service.state import ServiceState, State

_WRONG: Final = mark_message("This name and password do not belong together.")
_REFUSALS: Final[tuple[tuple[type[InputError], str], ...]] = (
    (InvitationError, mark_message("This invitation code is unknown, used or expired. Ask for another one.")),
    (NameTakenError, mark_message("Another account has this name already. Choose another one.")),
    (InputError, mark_message("Choose a name, and a password of at least 10 characters.")),
)

router = APIRouter(include_in_schema=False)

Name = Annotated[str, Form(max_length=2 * LONGEST_NAME)]
Password = Annotated[str, Form(max_length=LONGEST_PASSWORD)]


@router.get(SIGN_IN_PATH)
def show_sign_in(request: Request, state: State, next_path: Annotated[str, Query(alias="next")] = "/") -> Response:
    """Show the form."""
    find_current_account(request, state)
    return render_page(request, state, "sign_in.html.j2", next_path=choose_own_path(next_path), message="", name="")


@router.post(SIGN_IN_PATH)
def sign_in(
    request: Request,
    state: State,
    name: Name,
    password: Password,
    next_path: Annotated[str, Form(alias="next")] = "/",
) -> Response:
    """Start a session, or show the form again."""
    find_current_account(request, state)
    limit_sign_in(request, state, canonical_name(name))
    account = authenticate(state.database, name, password)
    if account is None:
        values = {"next_path": choose_own_path(next_path), "message": _WRONG, "name": name}
        return render_page(request, state, "sign_in.html.j2", status=422, **values)
    return _enter(state, account, choose_own_path(next_path))


@router.post("/sign-out")
def sign_out(state: State, account: CurrentAccount) -> Response:
    """End all sessions of the account, on every device."""
    end_sessions(state.database, account.account_id)
    response = redirect_to(state, SIGN_IN_PATH)
    forget_session(response, state)
    return response


@router.get("/join")
def show_invitation(request: Request, state: State) -> Response:
    """Show the form for an invitation code."""
    find_current_account(request, state)
    return _render_join(request, state)


@router.post("/join")
def join(
    request: Request,
    state: State,
    code: Annotated[str, Form(max_length=100)],
    name: Name,
    password: Password,
    language: Annotated[str, Form(max_length=5)],
) -> Response:
    """Make the account and start a session, or show the form again."""
    find_current_account(request, state)
    limit_sign_in(request, state, None)
    chosen = language if language in LANGUAGES else get_page_language(request)
    try:
        account = accept_invitation(state.database, code, name, password, chosen, state.read_clock())
    except InputError as error:
        message = next(text for kind, text in _REFUSALS if isinstance(error, kind))
        return _render_join(request, state, 422, message, name, code)
    return _enter(state, account, "/")


def _enter(state: ServiceState, account: Account, path: str) -> Response:
    response = redirect_to(state, path)
    start_session(response, state, account)
    return response


def _render_join(
    request: Request, state: ServiceState, status: int = 200, message: str = "", name: str = "", code: str = ""
) -> Response:
    values = {"message": message, "name": name, "code": code, "languages": LANGUAGES, "shortest": SHORTEST_PASSWORD}
    return render_page(request, state, "join.html.j2", status=status, **values)
