"""A server with the three calls by which a pull reads Label Studio. `test_real_server` runs the same pull against the
real one, which takes minutes to install."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from habla_ml.annotation.sources.label_studio.project import LABEL_CONFIG

TITLE = "Habla"
LOGIN = "0123456789abcdef"
FIRST_CHANGE = datetime(2026, 2, 20, 12, tzinfo=UTC)


@dataclass
class LabelStudioApi:
    """The state of the server: one project and its tasks."""

    url: str = ""
    tasks: list[dict[str, Any]] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    """Path → number of requests."""

    def respond(self, path: str, query: Mapping[str, Sequence[str]]) -> Any:
        """Return the response to a request."""
        if path == "/health":
            return {"status": "UP"}  # asked once by each client, before it sends the token
        self.requests[path] += 1
        if path == "/api/users":
            return [{"id": 1, "email": "ana@example.org"}]
        if path == "/api/projects":
            created_at = FIRST_CHANGE.isoformat()
            return {"results": [{"id": 1, "title": TITLE, "created_at": created_at, "label_config": LABEL_CONFIG}]}
        [condition] = json.loads(query["query"][0])["filters"]["items"]
        since = datetime.fromisoformat(condition["value"])
        found = [each for each in self.tasks if datetime.fromisoformat(each["updated_at"]) >= since]
        found.sort(key=lambda each: each["updated_at"])
        size, number = int(query["page_size"][0]), int(query["page"][0])
        return {"tasks": found[size * (number - 1) : size * number]}

    def annotate(self, segment: str, day: str, text: str, after_s: float = 0.0) -> None:
        """Add a task with one annotation, changed `after_s` seconds after the first one."""
        number, changed_at = len(self.tasks) + 1, (FIRST_CHANGE + timedelta(seconds=after_s)).isoformat()
        result = [{"from_name": "transcription", "value": {"text": [text]}}]
        annotation = {"id": number, "result": result, "was_cancelled": False, "completed_by": 1}
        data = {"segment_id": segment, "day": day, "hint": "hola", "model_version": "v1", "round": 1}
        self.tasks.append(
            {
                "id": number,
                "updated_at": changed_at,
                "data": data,
                "annotations": [{**annotation, "created_at": changed_at, "updated_at": changed_at}],
            }
        )


@contextmanager
def serve_label_studio() -> Iterator[LabelStudioApi]:
    """Serve on a free port of 127.0.0.1."""
    api = LabelStudioApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            body = json.dumps(api.respond(address.path, parse_qs(address.query))).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
