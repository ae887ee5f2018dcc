"""A web server of a folder, as a CDN is: with ranges, so that a download can go on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles


@contextmanager
def serve_application(application: Any) -> Iterator[str]:
    """Serve an ASGI application until the block ends; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off", timeout_keep_alive=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """Serve a folder until the block ends; yields its address."""
    folder.mkdir(parents=True, exist_ok=True)
    with serve_application(Starlette(routes=[Mount("/", StaticFiles(directory=folder))])) as address:
        yield address
