"""Build the application. A new part of the API or a page is one module with a `router`, and one row here."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, FastAPI

from habla_ml.service.api import health
from habla_ml.service.pages import home, sign_in, static_files
from habla_ml.service.pages.error_pages import add_page_errors
from habla_ml.service.problems import add_problem_handlers
from habla_ml.service.state import ServiceState

API_ROUTERS: Final[tuple[APIRouter, ...]] = (health.router,)
"""The routers of the API."""
PAGE_ROUTERS: Final[tuple[APIRouter, ...]] = (static_files.router, home.router, sign_in.router)
"""The routers of the pages."""


def create_app(state: ServiceState) -> FastAPI:
    """Return the application that serves a deployment; nothing is opened before the first request."""
    app = FastAPI(
        title="habla_ml",
        version="1",
        description="Receives clips, corrections and consents, and names the latest model.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = state
    add_problem_handlers(app)
    add_page_errors(app)
    for router in (*API_ROUTERS, *PAGE_ROUTERS):
        app.include_router(router)
    return app
