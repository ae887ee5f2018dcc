"""What an operator sees of the service: a log line and metrics of each request. Neither has content, names or ids.

The template of a route stands for its path, because a path has ids. An unknown path is not logged at all. Several workers
share the metrics through files in the folder of `PROMETHEUS_MULTIPROC_DIR`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.datastructures import MutableHeaders

from habla_ml.errors import describe_error
from habla_ml.service.pages.origin import is_from_this_machine
from habla_ml.service.problems import NOT_FOUND, ProblemError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METRICS_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_REQUEST_LOG: Final = logging.getLogger("habla_ml.requests")
_UNKNOWN: Final = "unknown"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LABELS: Final = ("method", "route", "status")
_SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_LOG_FIELDS: Final = ("request_id", "method", "route", "status", "ms", "bytes_in", "bytes_out")

router = APIRouter(include_in_schema=False)


class RequestMetrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("habla_requests", "Requests", _LABELS, registry=self.registry)
        self.seconds = Histogram(
            "habla_request_seconds", "Duration", ("method", "route"), registry=self.registry, buckets=_BUCKETS_S
        )
        self.received = Counter("habla_received_bytes", "Bytes of bodies", ("route",), registry=self.registry)

    def render(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format."""
        if METRICS_FOLDER_VARIABLE not in os.environ:
            return generate_latest(self.registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)


class ObservationMiddleware:
    """Log and count each request, give it an id, and add the security headers that its response lacks."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, is_https: bool) -> None:
        self.app = app
        self.metrics = metrics
        self.headers = dict(_SECURITY_HEADERS)
        if is_https:
            self.headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, request_id = time.perf_counter(), uuid.uuid4().hex
        seen = {"status": 500, "bytes_in": 0, "bytes_out": 0}

        async def receive_counted() -> Message:
            message = await receive()
            seen["bytes_in"] += len(message.get("body", b""))
            return message

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            seen["bytes_out"] += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive_counted, send_counted)
        finally:
            self._record(scope, request_id, time.perf_counter() - began, seen)

    def _record(self, scope: Scope, request_id: str, seconds: float, seen: dict[str, int]) -> None:
        # Only what the service knows becomes a label, so that nobody can make new ones.
        method = scope["method"] if scope["method"] in _METHODS else _UNKNOWN
        route = getattr(scope.get("route"), "path", _UNKNOWN)
        self.metrics.requests.labels(method, route, str(seen["status"])).inc()
        self.metrics.seconds.labels(method, route).observe(seconds)
        self.metrics.received.labels(route).inc(seen["bytes_in"])
        values = (
            request_id,
            method,
            route,
            seen["status"],
            round(seconds * 1000, 1),
            seen["bytes_in"],
            seen["bytes_out"],
        )
        _REQUEST_LOG.info("request", extra=dict(zip(_LOG_FIELDS, values, strict=True)))


@router.get("/metrics")
def read_metrics(request: Request) -> Response:
    """Return the metrics to a program on this machine; anyone else gets the answer of an unknown path."""
    if not is_from_this_machine(request):
        raise ProblemError(NOT_FOUND, "Not Found")
    metrics: RequestMetrics = request.app.state.metrics
    return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})


class JsonLogFormatter(logging.Formatter):
    """One JSON object a line. Of an error outside the project only its class and place, because texts quote values."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
        line |= {name: getattr(record, name) for name in _LOG_FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe_error(record.exc_info[1])
            frames = traceback.extract_tb(record.exc_info[2])
            line["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-10:]]
        return json.dumps(line, ensure_ascii=False)


def configure_logging() -> None:
    """Write the log of this process to standard error, one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLogFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    # Requests are logged here, and httpx quotes addresses.
    for name in ("uvicorn.access", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
