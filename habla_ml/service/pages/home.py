"""The start page: what a person can do here."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from habla_ml.service.pages.current_account import CurrentAccount
from habla_ml.service.pages.layout import render_page
from habla_ml.service.state import State

router = APIRouter(include_in_schema=False)


@router.get("/")
def show_home(request: Request, state: State, account: CurrentAccount) -> Response:  # noqa: ARG001 (needs an account)
    """Show the pages that the person may use."""
    return render_page(request, state, "home.html.j2")
