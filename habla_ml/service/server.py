"""Run the service: one socket, one or more workers, and bounds on what a connection may do before a request begins."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shutil
import signal
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from habla_ml.errors import SettingsError
from habla_ml.inbox.database import open_database
from habla_ml.settings import Settings, load_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from habla_ml.settings.service import ServiceSettings

PROFILE_VARIABLE: Final = "HABLA_PROFILE"
_LARGEST_HEAD_BYTES: Final = 64_000
_HEAD_TIMEOUT_S: Final = 20.0
_KEEP_ALIVE_S: Final = 15
_GRACE_S: Final = 30
_BACKLOG: Final = 2_048


class BoundedHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 that closes a connection whose request line and headers are too large or too slow; uvicorn waits for ever."""

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._watch_head(0)

    def data_received(self, data: bytes) -> None:
        """Pass the data on, and go on waiting if no request has begun."""
        super().data_received(data)
        self._watch_head(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        super().connection_lost(exc)

    def _watch_head(self, size: int) -> None:
        is_waiting = self.cycle is None or self.cycle.response_complete
        if not is_waiting or self.transport.is_closing():
            self._head_bytes = 0
            self._stop_timer()
            return
        self._head_bytes += size
        if self._head_bytes > _LARGEST_HEAD_BYTES:
            self.transport.close()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_TIMEOUT_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def create_worker_app() -> FastAPI:
    """Return the application of a worker; its profile is in the environment."""
    from habla_ml.service.app import create_app
    from habla_ml.service.observe import configure_logging
    from habla_ml.service.state import ServiceState

    configure_logging()
    return create_app(ServiceState(load_settings(os.environ.get(PROFILE_VARIABLE))))


def run_server(settings: Settings, listener: socket.socket) -> None:
    """Serve until the process gets SIGTERM or SIGINT; requests that have begun then have 30 s to end.

    Raises `LakeError` or `SettingsError` if the database cannot be used.
    """
    from habla_ml.service.observe import METRICS_FOLDER_VARIABLE

    # A fault that every worker would have ends the start here; uvicorn would restart the workers without end.
    create_worker_app()
    open_database(settings).close()
    config = make_server_config(settings.service.workers)
    if settings.service.workers > 1:
        folder = settings.service_folder / "metrics"
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, mode=0o700)
        os.environ[METRICS_FOLDER_VARIABLE] = str(folder)
        Multiprocess(config, sockets=[listener]).run()
    else:
        # A folder of an earlier run would hide the metrics of the only worker, which are in its memory.
        os.environ.pop(METRICS_FOLDER_VARIABLE, None)
        # After its graceful end, uvicorn sends the signal again to the handler that was there before.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def make_server_config(workers: int) -> uvicorn.Config:
    """Return uvicorn's settings. The application itself reads what trusted proxies state."""
    options: dict[str, Any] = {"log_config": None, "access_log": False, "proxy_headers": False, "server_header": False}
    return uvicorn.Config(
        "habla_ml.service.server:create_worker_app",
        factory=True,
        workers=workers,
        http=BoundedHttpProtocol,
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        **options,
    )


def open_listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; port 0 is any free one.

    Raises:
        SettingsError: The address does not exist here, or another program uses the port.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as on_failure:
            listener = on_failure.enter_context(socket.socket(family, kind))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            on_failure.pop_all()
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host} port {port}: {error.strerror}; end the program that uses it, "
            "or set service.host and service.port"
        ) from error
    listener.set_inheritable(True)
    return listener


def find_exposure_warnings(settings: ServiceSettings) -> list[str]:
    """Return what an operator must know before other machines reach the service."""
    is_here = _is_loopback(settings.host)
    address = urlsplit(settings.public_url or "")
    is_public = settings.public_url is not None and not _is_loopback(address.hostname)
    found = []
    if not is_here and address.scheme != "https":
        found.append(
            f"service.host {settings.host} is open to other machines without encryption, and anyone on the way can read "
            "tokens and passwords; put a proxy with TLS in front and set service.public_url to its https address"
        )
    elif is_public and address.scheme != "https":
        found.append(f"service.public_url {settings.public_url} is not encrypted; use https")
    if is_public and not settings.trusted_proxies:
        found.append(
            "service.public_url is set without service.trusted_proxies, so all clients of the proxy count as one address "
            "and share its limits; add the proxy's address"
        )
    if address.path:
        found.append(
            f"service.public_url {settings.public_url} has a path, below which apps work and the pages do not; give the service "
            "a host name of its own"
        )
    return found


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
