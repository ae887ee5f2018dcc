"""The page Personas: invite people, see the accounts, and end one."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Request, Response

from habla_ml.errors import InputError
from habla_ml.inbox.accounts import (
    RIGHTS,
    Account,
    count_accounts,
    disable_account,
    invite,
    search_accounts,
)
from habla_ml.inbox.typed_names import LONGEST_NAME
from habla_ml.service.pages.current_account import require_right
from habla_ml.service.pages.layout import mark_message, redirect_to, render_page
from habla_ml.service.pages.paging import EVERYTHING, ROWS_PER_PAGE, CurrentListQuery, ListPage, ListQuery
from habla_ml.service.problems import NOT_FOUND, ProblemError
from habla_ml.service.state import ServiceState, State

PEOPLE_PATH: Final = "/people"
_DAYS: Final = 7
_RIGHT_NAMES: Final = {
    "correct": mark_message("correct transcripts"),
    "consents": mark_message("record and withdraw consents"),
    "release": mark_message("choose the released version"),
    "admin": mark_message("invite people"),
}

router = APIRouter(include_in_schema=False)
Admin = Annotated[Account, Depends(require_right("admin"))]


@router.get(PEOPLE_PATH)
def show_people(request: Request, state: State, account: Admin, query: CurrentListQuery) -> Response:  # noqa: ARG001
    """Show the accounts and the form for an invitation."""
    return _render(request, state, query=query)


@router.post("/people/invite")
def invite_person(
    request: Request,
    state: State,
    account: Admin,  # noqa: ARG001 (needs the right)
    rights: Annotated[list[str], Form(max_length=len(RIGHTS))] = [],  # noqa: B006 (never changed)
) -> Response:
    """Show the code of a new invitation; it is not kept, so it is shown here only."""
    try:
        code = invite(state.database, rights, state.read_clock(), timedelta(days=_DAYS))
    except InputError:
        return _render(request, state, 422, is_without_right=True)
    return _render(request, state, code=code)


@router.post("/people/disable")
def disable_person(
    state: State,
    account: Admin,  # noqa: ARG001 (needs the right)
    name: Annotated[str, Form(max_length=2 * LONGEST_NAME)],
) -> Response:
    """Disable an account and end its sessions."""
    try:
        disable_account(state.database, name, state.read_clock())
    except InputError as error:
        raise ProblemError(NOT_FOUND, "There is no such account") from error
    return redirect_to(state, PEOPLE_PATH)


def _render(
    request: Request,
    state: ServiceState,
    status: int = 200,
    *,
    query: ListQuery = EVERYTHING,
    code: str = "",
    is_without_right: bool = False,
) -> Response:
    page = ListPage.choose(query, count_accounts(state.database, query.search))
    address = state.settings.service.public_url or str(request.base_url).rstrip("/")
    return render_page(
        request,
        state,
        "people.html.j2",
        status=status,
        list=page,
        accounts=search_accounts(state.database, page.search, page.skipped, ROWS_PER_PAGE),
        right_names=_RIGHT_NAMES,
        code=code,
        address=f"{address}/join",
        days=_DAYS,
        is_without_right=is_without_right,
    )
