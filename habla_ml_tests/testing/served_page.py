"""The service in a thread of this process, and a real Chromium that opens its pages."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from playwright.sync_api import Browser, sync_playwright

from habla_ml.service.app import create_app
from habla_ml.service.state import ServiceState

_START_TIMEOUT_S = 30


@contextmanager
def serve(state: ServiceState) -> Iterator[str]:
    """Serve a deployment on a free port of this machine; yield its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(state), log_level="error"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not server.started:
            assert time.monotonic() < deadline, "the service did not start"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Open a Chromium without a window; skip the test where there is none."""
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("no Chromium: apt-get install -y --no-install-recommends chromium, then run again")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield browser
        browser.close()
