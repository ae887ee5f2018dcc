"""Build the application. A new part of the API or a page is one module with a `router`, and one row here."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends, FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from habla_ml.service import observe
from habla_ml.service.api import batches, clips, consents, contributors, devices, health, latest_model
from habla_ml.service.bodies import BodyBoundMiddleware
from habla_ml.service.limits import limit_address
from habla_ml.service.openapi import add_openapi_document
from habla_ml.service.pages import consents as consents_page
from habla_ml.service.pages import correct, home, language_choice, people, sign_in, static_files, status
from habla_ml.service.pages.error_pages import add_page_errors
from habla_ml.service.pages.status_cache import StatusCache
from habla_ml.service.problems import add_problem_handlers
from habla_ml.service.state import ServiceState
from habla_ml.settings.service import ServiceSettings

UNLIMITED_ROUTERS: Final[tuple[APIRouter, ...]] = (clips.router, health.router, observe.router, static_files.router)
"""The routers of clips, which count their requests themselves, of what costs nothing, and of what watches the service."""
API_ROUTERS: Final[tuple[APIRouter, ...]] = (
    devices.router,
    batches.router,
    consents.router,
    contributors.router,
    latest_model.router,
)
"""The routers of the API."""
PAGE_ROUTERS: Final[tuple[APIRouter, ...]] = (
    home.router,
    sign_in.router,
    language_choice.router,
    correct.router,
    status.router,
    consents_page.router,
    people.router,
)
"""The routers of the pages."""


def create_app(state: ServiceState) -> FastAPI:
    """Return the application that serves a deployment; nothing is opened before the first request."""
    app = FastAPI(
        title="habla_ml",
        version="1",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = state
    app.state.status = StatusCache(state)
    _add_middleware(app, state.settings.service)
    add_problem_handlers(app)
    add_page_errors(app)
    add_openapi_document(app, state.settings.service)
    for router in UNLIMITED_ROUTERS:
        app.include_router(router)
    for router in (*API_ROUTERS, *PAGE_ROUTERS):
        app.include_router(router, dependencies=[Depends(limit_address)])
    return app


def _add_middleware(app: FastAPI, settings: ServiceSettings) -> None:
    """Add what surrounds every request, the innermost first."""
    limits = settings.uploads
    app.add_middleware(BodyBoundMiddleware, largest_bytes=limits.largest_body_bytes, timeout_s=limits.body_timeout_s)
    app.state.metrics = observe.RequestMetrics()
    app.add_middleware(observe.ObservationMiddleware, metrics=app.state.metrics, is_https=settings.is_encrypted)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
