"""The start page: what a person can do here."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from habla_ml.service.pages.layout import render_page
from habla_ml.service.state import State

router = APIRouter(include_in_schema=False)


@router.get("/")
def show_home(request: Request, state: State) -> Response:
    """Show the pages that the person may use."""
    return render_page(request, state, "home.html.j2")
