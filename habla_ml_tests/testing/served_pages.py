"""The pages of a service in a real Chromium: served by uvicorn, read by axe, without a fault or a request elsewhere."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, sync_playwright

PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1280, "height": 800}
_WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
_RULES = {"runOnly": list(_WCAG), "rules": {"target-size": {"enabled": True}}, "resultTypes": ["violations"]}


@contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """Serve an application on a free port of this machine and yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Open the browser; skips the test where there is none."""
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("no Chromium: apt-get install -y --no-install-recommends chromium, then run again")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield browser
        browser.close()


@dataclass
class WatchedPage:
    """A page whose faults are collected."""

    page: Page
    address: str
    faults: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(self.address + path)

    def show_colours(self, *, is_dark: bool) -> None:
        """Change between light and dark colours, without loading the page again."""
        self.page.emulate_media(color_scheme="dark" if is_dark else "light")

    def check(self) -> None:
        """Assert that there was no fault, nothing is wider than the screen, and axe finds nothing."""
        assert self.faults == []
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), self.page.url
        found = Axe().run(self.page, options=_RULES).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == [], self.page.url


def watch_page(browser: Browser, address: str, screen: dict[str, int], *, locale: str = "es-ES") -> WatchedPage:
    """Open an empty page that notes errors of the console and requests to other hosts."""
    context = browser.new_context(
        viewport=screen,  # type: ignore[arg-type]
        locale=locale,
        device_scale_factor=2 if screen is PHONE else 1,
    )
    return note_faults(context.new_page(), address)


def note_faults(page: Page, address: str) -> WatchedPage:
    """Note errors of the console and requests to other hosts from now on."""
    watched = WatchedPage(page, address)
    page.on("console", lambda message: watched.faults.append(message.text))
    page.on("pageerror", lambda error: watched.faults.append(str(error)))
    own = (address, "blob:")
    page.on("request", lambda sent: None if sent.url.startswith(own) else watched.faults.append(sent.url))
    return watched
