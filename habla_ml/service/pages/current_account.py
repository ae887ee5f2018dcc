"""Who uses a page, and what that person may do there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from habla_ml.inbox.accounts import LOCAL_ACCOUNT, Account
from habla_ml.service.pages.origin import is_local_person, require_own_origin
from habla_ml.service.pages.sessions import read_session
from habla_ml.service.problems import FORBIDDEN, UNAUTHENTICATED, ProblemError
from habla_ml.service.state import ServiceState, State


def get_current_account(request: Request, state: State) -> Account:
    """Return the account of a request; raises `ProblemError` without one, or for a change that another site sends."""
    account = find_current_account(request, state)
    if account is None:
        raise ProblemError(UNAUTHENTICATED, "Sign in first")
    return account


def find_current_account(request: Request, state: ServiceState) -> Account | None:
    """Return the account of a request, or None; raises `ProblemError` for a change that another site sends."""
    require_own_origin(request, state.settings.service)
    account = read_session(request, state)
    if account is None and is_local_person(request, state.settings.service):
        account = LOCAL_ACCOUNT
    request.state.account = account
    return account


CurrentAccount = Annotated[Account, Depends(get_current_account)]
"""Type of a handler's parameter that receives the account; the handler is not called without one."""


def require_right(right: str) -> Callable[[Account], Account]:
    """Return a dependency, for `Depends`, that refuses an account without a right of `RIGHTS` and returns the account."""

    def require(account: CurrentAccount) -> Account:
        if right not in account.rights:
            raise ProblemError(FORBIDDEN, f"The account lacks the right {right}")
        return account

    return require
