"""The error of a refused request omits the server's message, which can repeat a transcript."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.errors import ServiceError

TRANSCRIPT = "Mañana no vengo."
BODIES = {
    "/fields": {
        "detail": TRANSCRIPT,
        "validation_errors": {"hint": [f"{TRANSCRIPT!r} is too long"], "title": ["empty"]},
    },
    "/list": {"validation_errors": [f"{TRANSCRIPT!r} is too long"]},
    "/words": {"detail": TRANSCRIPT},
    "/page": TRANSCRIPT,
}


class _RejectingHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Refuse with the body of the path."""
        body = json.dumps(BODIES["/" + self.path.split("/")[1]]).encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _RejectingHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/fields", "responds with HTTP 400 for hint, title; the server's log has the reason"),
        ("/list", "responds with HTTP 400; the server's log has the reason"),
        ("/words", "responds with HTTP 400; the server's log has the reason"),
        ("/page", "responds with HTTP 400; the server's log has the reason"),
    ],
)
def test_the_error_of_a_refused_request_names_the_fields_without_their_text(
    address: str, path: str, message: str
) -> None:
    with LabelStudio(address + path, "token") as server, pytest.raises(ServiceError) as refused:
        server.create_project("title", TRANSCRIPT, "<View/>")
    assert message in str(refused.value)
    assert TRANSCRIPT not in str(refused.value)
    assert json.dumps(TRANSCRIPT)[1:-1] not in str(refused.value)
