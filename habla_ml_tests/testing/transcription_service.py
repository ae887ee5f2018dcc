"""A local HTTP server with canned replies, and answers of each service in its documented format."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

TimedWord = tuple[str, float, float]


@dataclass(frozen=True)
class CannedReply:
    """One reply, sent after `delay_s`; with `is_truncated`, the connection closes before its end."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    is_truncated: bool = False

    @classmethod
    def of(cls, value: object, status: int = 200, **headers: str) -> CannedReply:
        """Return a JSON reply."""
        named = {name.replace("_", "-"): each for name, each in headers.items()}
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **named})


@dataclass(frozen=True)
class ReceivedRequest:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at_s: float


class FakeTranscriptionService:
    """Sends `replies` in turn and repeats the last one; stores the requests."""

    def __init__(self) -> None:
        self.replies: deque[CannedReply] = deque([CannedReply()])
        self.received: list[ReceivedRequest] = []
        self.on_request: Callable[[], None] = lambda: None
        """Called at each request, before the reply."""
        self._turn = threading.Lock()
        served = self

        class _TranscriptionHandler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with served._turn:
                    served.received.append(ReceivedRequest(self.path, headers, body, time.monotonic()))
                    reply = served.replies.popleft() if len(served.replies) > 1 else served.replies[0]
                served.on_request()
                time.sleep(reply.delay_s)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body) + reply.is_truncated))
                self.end_headers()
                self.wfile.write(reply.body)
                self.close_connection = reply.is_truncated

            def log_message(self, format: str, *args: object) -> None:
                pass

        class _QuietHttpServer(http.server.ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Ignore clients that disconnect."""

        self._server = _QuietHttpServer(("127.0.0.1", 0), _TranscriptionHandler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def set_replies(self, *replies: CannedReply) -> None:
        """Replace the replies."""
        self.replies = deque(replies)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def build_deepgram_response(text: str, words: list[TimedWord], **word: Any) -> dict[str, Any]:
    """developers.deepgram.com/reference/speech-to-text/listen-pre-recorded."""
    timed = [
        {"word": each.strip(".,¿?").lower(), "punctuated_word": each, "start": start, "end": end, "confidence": 0.9}
        | word
        for each, start, end in words
    ]
    alternative = {"transcript": text, "confidence": 0.99, "words": timed}
    metadata = {
        "transaction_key": "deprecated",
        "request_id": "2479c8c8-8185-40ac-9ac6-f0874419f793",
        "sha256": "154e",
        "created": "2026-11-02T19:56:16.180Z",
        "duration": 2.0,
        "channels": 1,
        "models": ["30089e05"],
        "model_info": {"30089e05": {"name": "2-general-nova", "version": "1", "arch": "nova-3"}},
    }
    return {"metadata": metadata, "results": {"channels": [{"alternatives": [alternative]}]}}


def build_azure_response(text: str, words: list[TimedWord], **word: Any) -> dict[str, Any]:
    """learn.microsoft.com/azure/ai-services/speech-service/fast-transcription-create."""

    def build_times(start_s: float, end_s: float) -> dict[str, int]:
        return {"offsetMilliseconds": round(1000 * start_s), "durationMilliseconds": round(1000 * (end_s - start_s))}

    timed = [{"text": each} | build_times(start, end) | word for each, start, end in words]
    phrase = build_times(0, 2) | {"text": text, "words": timed, "locale": "es-ES", "confidence": 0.93}
    found = (
        {"combinedPhrases": [{"text": text}], "phrases": [phrase]} if text else {"combinedPhrases": [], "phrases": []}
    )
    return {"durationMilliseconds": 2000} | found


def build_google_response(text: str, words: list[TimedWord], **word: Any) -> dict[str, Any]:
    """cloud.google.com/speech-to-text/v2/docs/reference/rest/v2/projects.locations.recognizers/recognize."""
    timed = [
        {"startOffset": f"{start:.3f}s", "endOffset": f"{end:.3f}s", "word": each, "confidence": 0.9} | word
        for each, start, end in words
    ]
    alternative = {"transcript": text, "confidence": 0.98, "words": timed}
    result = {"alternatives": [alternative], "resultEndOffset": "2s", "languageCode": "es-es"}
    return {"results": [result] if text else [], "metadata": {"totalBilledDuration": "2s"}}


def build_aws_transcript(text: str, words: list[TimedWord]) -> dict[str, Any]:
    """docs.aws.amazon.com/transcribe/latest/dg/how-input.html, section on output."""
    items: list[dict[str, Any]] = []
    for number, (each, start, end) in enumerate(words):
        times = {"start_time": f"{start}", "end_time": f"{end}"}
        alternatives = [{"confidence": "0.9", "content": each.rstrip(".,?")}]
        items.append({"id": number, "type": "pronunciation", "alternatives": alternatives, **times})
        if each[-1] in ".,?":
            items.append({"type": "punctuation", "alternatives": [{"confidence": "0.0", "content": each[-1]}]})
    results = {"transcripts": [{"transcript": text}], "items": items}
    return {"jobName": "job", "accountId": "123456789012", "status": "COMPLETED", "results": results}
