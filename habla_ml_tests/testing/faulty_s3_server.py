"""An HTTP server with the S3 protocol (moto) and simulated faults in some buckets and keys.

`python -m habla_ml_tests.testing.faulty_s3_server` prints its port and serves until its standard input closes. It serves one
request at a time, so that a conditional write is atomic, as on AWS.

- bucket `ignores-if-none-match`, bucket `ignores-if-match`: that header is ignored;
- bucket `refuses-everything-conditional`: 412 to each conditional put;
- bucket `three-a-page`: listings have three keys a page;
- bucket `forbids-delete`: 403 to each DELETE;
- bucket `revives-deleted`: `If-Match` is ignored where nothing is, as MinIO did until 2025;
- bucket `redirects`: 301 to each request, as a proxy that wants TLS;
- bucket `is-a-page`: a page with status 200 to each request, as a console;
- key with `archived`: 403 to each GET, as from Glacier;
- key with `ended-upload`: a listed upload in parts cannot be aborted any more;
- key with `answers-409-twice`: the first two conditional writes get 409;
- key with `loses-an-answer`: the first write is stored but answered with 500;
- key with `forgets-uploads`: the first completion of an upload in parts is done but answered with 500, the second with 404;
- path `/.requests`: the number of requests of each kind since the last call, as JSON. A kind is a method, or `LIST`.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Environ = dict[str, Any]
_PAGE = b"<!doctype html><html lang=en><head><title>Console</title></head><body>&nbsp;</body></html>"


def _send_error(status: str, code: str, start_response: Callable[..., Any]) -> list[bytes]:
    body = f"<Error><Code>{code}</Code><Message>a fault on purpose</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


class FaultyS3:
    """moto with the faults in the module's docstring."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._seen: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/.requests":
            counted, self._requests = json.dumps(self._requests).encode(), Counter()
            start_response("200 OK", [("Content-Length", str(len(counted)))])
            return [counted]
        self._requests["LIST" if "list-type" in environ["QUERY_STRING"] else method] += 1
        bucket = path.split("/")[1]
        conditional = "HTTP_IF_NONE_MATCH" in environ or "HTTP_IF_MATCH" in environ
        if bucket == "ignores-if-none-match":
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if bucket == "ignores-if-match":
            environ.pop("HTTP_IF_MATCH", None)
        if bucket == "revives-deleted" and "HTTP_IF_MATCH" in environ and not self._exists(environ):
            environ.pop("HTTP_IF_MATCH")
        if bucket == "redirects":
            start_response("301 Moved Permanently", [("Location", "https://s3.example/"), ("Content-Length", "0")])
            return []
        if bucket == "is-a-page":
            start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(_PAGE)))])
            return [] if method == "HEAD" else [_PAGE]
        if "archived" in path and method == "GET":
            return _send_error("403 Forbidden", "InvalidObjectState", start_response)
        if "ended-upload" in path and method == "DELETE":
            return _send_error("404 Not Found", "NoSuchUpload", start_response)
        if bucket == "three-a-page" and method == "GET" and "list-type" in environ["QUERY_STRING"]:
            environ["QUERY_STRING"] += "&max-keys=3"
        if bucket == "refuses-everything-conditional" and conditional:
            return _send_error("412 Precondition Failed", "PreconditionFailed", start_response)
        if bucket == "forbids-delete" and method == "DELETE":
            return _send_error("403 Forbidden", "AccessDenied", start_response)
        if "answers-409-twice" in path and conditional and method in {"PUT", "POST"}:
            self._seen[path] += 1
            if self._seen[path] <= 2:
                return _send_error("409 Conflict", "ConditionalRequestConflict", start_response)
        if "loses-an-answer" in path and method == "PUT":
            self._seen[path] += 1
            if self._seen[path] == 1:
                list(self._moto(environ, lambda *_: lambda _data: None))
                return _send_error("500 Internal Server Error", "InternalError", start_response)
        if "forgets-uploads" in path and method == "POST" and "uploadId" in environ["QUERY_STRING"]:
            self._seen[path] += 1
            if self._seen[path] > 1:
                return _send_error("404 Not Found", "NoSuchUpload", start_response)
            list(self._moto(environ, lambda *_: lambda _data: None))
            return _send_error("500 Internal Server Error", "InternalError", start_response)
        answer: Iterable[bytes] = self._moto(environ, start_response)
        return answer

    def _exists(self, environ: Environ) -> bool:
        statuses: list[str] = []
        headers = {name: value for name, value in environ.items() if name != "HTTP_IF_MATCH"}
        asked = {**headers, "REQUEST_METHOD": "HEAD", "CONTENT_LENGTH": "0", "wsgi.input": io.BytesIO()}

        def start_response(status: str, *_: Any) -> Callable[[bytes], None]:
            statuses.append(status)
            return lambda _data: None

        list(self._moto(asked, start_response))
        return statuses[0].startswith("200")


class QuietRequestHandler(WSGIRequestHandler):
    """A handler that does not log requests."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def main() -> None:
    """Serve on a free port of 127.0.0.1."""
    server = make_server("127.0.0.1", 0, FaultyS3(), threaded=False, request_handler=QuietRequestHandler)
    print(server.server_port, flush=True)

    def stop_with_parent() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=stop_with_parent, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
