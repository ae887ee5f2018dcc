"""Take the pictures of `docs/pictures` from a running demo: ``python -m tools.ui_pictures``.

Run `habla-ml demo` and `habla-ml dev -p demo` first. Each picture is a page of the Dagster UI or
of the service. A picture above 200 kB is an error.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, sync_playwright

PICTURES: Final = Path(__file__).resolve().parents[1] / "docs" / "pictures"
MOST_BYTES: Final = 200_000
_IDLE_MS: Final = 30_000
_PAUSE_MS: Final = 2000
_GRAPH: Final = "asset_graph"
_EMPTY_PLACE: Final = (800, 160)
_CENTRE: Final = (980, 560)
"""Places on the page with the graph, in pixels."""
_ZOOM_OUT, _SCROLL_UP = 50, -150
"""Turns of the wheel after which the whole graph is in view."""


@dataclass(frozen=True)
class Picture:
    """A page and the part of it that is shown."""

    name: str
    path: str
    """Of the page, from the address of its server."""
    height: int
    """In pixels."""
    width: int = 1440
    is_service: bool = False
    """Whether the service has the page, and not the Dagster UI."""


SHOWN: Final = (
    Picture(_GRAPH, "/asset-groups", 1080),
    Picture("loop_status", "/assets/loop_status", 1150),
    Picture("checks_in_ui", "/assets/splits?view=checks", 800),
    Picture("wer_report_in_ui", "/assets/wer_report?partition=v2", 1150),
    Picture("report", "/reports/v2", 1000, is_service=True),
)


def take_picture(browser: Browser, picture: Picture, addresses: tuple[str, str]) -> bytes:
    """Return a picture as PNG; `addresses` are those of the UI and of the service."""
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height}, timezone_id="Europe/Madrid"
    )
    page = context.new_page()
    page.goto(f"{addresses[picture.is_service]}{picture.path}")
    page.wait_for_load_state("networkidle", timeout=_IDLE_MS)
    page.wait_for_timeout(_PAUSE_MS)
    if picture.name == _GRAPH:
        _expand_groups(page)
    taken = page.screenshot()
    context.close()
    return taken


def _expand_groups(page: Page) -> None:
    page.mouse.click(*_EMPTY_PLACE)
    page.keyboard.press("Alt+KeyE")
    page.wait_for_timeout(_PAUSE_MS)
    page.mouse.move(*_CENTRE)
    page.keyboard.down("Control")
    page.mouse.wheel(0, _ZOOM_OUT)
    page.keyboard.up("Control")
    page.mouse.wheel(0, _SCROLL_UP)
    page.wait_for_timeout(_PAUSE_MS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Take all pictures, or some, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ui", default="http://localhost:3000", help="address of the Dagster UI")
    parser.add_argument("--service", default="http://127.0.0.1:8787", help="address of the service")
    parser.add_argument("--only", nargs="*", choices=[each.name for each in SHOWN], help="names of pictures")
    parser.add_argument("--out", type=Path, default=PICTURES, help="folder of the pictures")
    options = parser.parse_args(arguments)
    if (chromium := shutil.which("chromium")) is None:
        print("error: no Chromium; run apt-get install -y --no-install-recommends chromium", file=sys.stderr)
        return 1
    too_large = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for each in SHOWN:
            if options.only is None or each.name in options.only:
                taken = take_picture(browser, each, (options.ui, options.service))
                (options.out / f"{each.name}.png").write_bytes(taken)
                print(f"{each.name}.png: {len(taken) / 1000:.0f} kB")
                too_large += [each.name] * (len(taken) > MOST_BYTES)
        browser.close()
    if too_large:
        print(f"error: larger than {MOST_BYTES // 1000} kB: {', '.join(too_large)}; lower the height", file=sys.stderr)
    return int(bool(too_large))


if __name__ == "__main__":
    sys.exit(main())
