"""Build the application. A new part of the API or a page is one module with a `router`, and one row here."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends, FastAPI

from habla_ml.service.api import batches, clips, devices, health, latest_model
from habla_ml.service.bodies import BodyBoundMiddleware
from habla_ml.service.limits import limit_address
from habla_ml.service.pages import consents, correct, home, people, sign_in, static_files, status
from habla_ml.service.pages.error_pages import add_page_errors
from habla_ml.service.problems import add_problem_handlers
from habla_ml.service.state import ServiceState

API_ROUTERS: Final[tuple[APIRouter, ...]] = (
    health.router,
    devices.router,
    clips.router,
    batches.router,
    latest_model.router,
)
"""The routers of the API."""
PAGE_ROUTERS: Final[tuple[APIRouter, ...]] = (
    static_files.router,
    home.router,
    sign_in.router,
    correct.router,
    status.router,
    consents.router,
    people.router,
)
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
    limits = state.settings.service.uploads
    app.add_middleware(BodyBoundMiddleware, largest_bytes=limits.largest_body_bytes, timeout_s=limits.body_timeout_s)
    add_problem_handlers(app)
    add_page_errors(app)
    for router in API_ROUTERS:
        app.include_router(router, dependencies=[] if router is health.router else [Depends(limit_address)])
    for router in PAGE_ROUTERS:
        app.include_router(router)
    return app
