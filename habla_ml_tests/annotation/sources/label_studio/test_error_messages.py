"""A server's refusal is told without its own words, which may repeat what somebody said."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.errors import ServiceError

SAID = "Mañana no vengo."
BODIES = {
    "/fields": {"detail": SAID, "validation_errors": {"hint": [f"{SAID!r} is too long"], "title": ["empty"]}},
    "/list": {"validation_errors": [f"{SAID!r} is too long"]},
    "/words": {"detail": SAID},
    "/page": SAID,
}


class _RejectingHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Refuse as the address says."""
        body = json.dumps(BODIES["/" + self.path.split("/")[1]]).encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _RejectingHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("/fields", "responds with HTTP 400 for hint, title; the server's log has the reason"),
        ("/list", "responds with HTTP 400; the server's log has the reason"),
        ("/words", "responds with HTTP 400; the server's log has the reason"),
        ("/page", "responds with HTTP 400; the server's log has the reason"),
    ],
)
def test_a_refusal_names_the_fields_and_repeats_no_text(address: str, way: str, told: str) -> None:
    with LabelStudio(address + way, "token") as server, pytest.raises(ServiceError) as refused:
        server.create_project("title", SAID, "<View/>")
    assert told in str(refused.value)
    assert SAID not in str(refused.value)
    assert json.dumps(SAID)[1:-1] not in str(refused.value)
