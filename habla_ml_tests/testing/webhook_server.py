"""A local web server that receives alerts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest


class WebhookServer:
    """A server that stores accepted posts; `next_statuses` are the next response codes, then 200."""

    def __init__(self) -> None:
        self.posted: list[dict[str, str]] = []
        self.next_statuses: list[int] = []
        hook = self

        class WebhookHandler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = hook.next_statuses.pop(0) if hook.next_statuses else 200
                if status == 200:
                    hook.posted.append(body)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), WebhookHandler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?secret=abc"


@pytest.fixture
def webhook() -> Iterator[WebhookServer]:
    made = WebhookServer()
    Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()
