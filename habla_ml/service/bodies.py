"""Bodies of requests: plain, bounded in size and time on every route, and received into a file where they are large."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
import tempfile
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from habla_ml.errors import LakeError
from habla_ml.service.problems import BAD_REQUEST, DIGEST_MISMATCH, INVALID, UNSUPPORTED, ProblemError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SCOPE_KEY: Final = "habla_ml.body_bound"
_BUFFER_BYTES: Final = 1_000_000
_PLAIN_ENCODINGS: Final = (b"", b"identity")
_DIGEST_ITEM: Final = re.compile(r"[ \t]*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):[ \t]*")


@dataclass(frozen=True)
class ReceivedBody:
    """A body whose digest is the one that the client sent."""

    content: bytes | Path
    """The bytes; of a large body a file, which the caller moves or deletes."""
    sha256: str
    size_bytes: int

    def discard(self) -> None:
        """Remove the file, if there is one that nobody has moved."""
        if isinstance(self.content, Path):
            self.content.unlink(missing_ok=True)


class _BodyBound:
    """What a body may be: bytes, and seconds from its first read to its end."""

    def __init__(self, largest_bytes: int, timeout_s: float) -> None:
        self.largest_bytes = largest_bytes
        self.timeout_s = timeout_s


class BodyBoundMiddleware:
    """Refuse bodies above a size (413), slower than a time (408) or compressed (415), whatever else their headers claim."""

    def __init__(self, app: ASGIApp, largest_bytes: int, timeout_s: float) -> None:
        self.app = app
        self.largest_bytes = largest_bytes
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request with a bounded body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        bound = scope[_SCOPE_KEY] = _BodyBound(self.largest_bytes, self.timeout_s)
        await self.app(scope, _bound_receive(scope, receive, bound), send)


async def receive_body(request: Request, folder: Path, largest_bytes: int, timeout_s: float) -> ReceivedBody:
    """Receive a request's body, and compare it with its `Content-Digest` (RFC 9530).

    Above a megabyte it goes into a new file of `folder`, which is not flushed to the disk. The bounds replace those of
    other bodies. Nothing is left in the folder if the body is not received.

    Raises:
        ProblemError: The digest is missing or differs, or the body is a form, empty or cut off.
        HTTPException: The body is too large (413) or too slow (408).
        LakeError: The folder cannot be written.
    """
    if request.headers.get("content-type", "").strip().lower().startswith("multipart/"):
        raise ProblemError(UNSUPPORTED, "the body is a multipart form; send the bytes of the file as the whole body")
    digest = read_content_digest(request)
    bound: _BodyBound = request.scope[_SCOPE_KEY]
    bound.largest_bytes, bound.timeout_s = largest_bytes, timeout_s
    spool = _Spool(folder)
    try:
        async for chunk in request.stream():
            spool.add(chunk)
            if len(spool.buffer) >= _BUFFER_BYTES:
                await to_thread.run_sync(spool.write)
        _check_length(request, spool.size_bytes)
        if spool.sha256.digest() != digest:
            raise ProblemError(
                DIGEST_MISMATCH, f"{spool.size_bytes} bytes came that differ from the digest; send them again"
            )
        if not spool.size_bytes:
            raise ProblemError(INVALID, "the body has 0 bytes; send the file once the recorder has closed it")
        content = spool.finish() if spool.file is None else await to_thread.run_sync(spool.finish)
    except BaseException as error:
        spool.discard()
        if isinstance(error, ClientDisconnect):
            raise ProblemError(BAD_REQUEST, "the body is cut off; send it again") from error
        raise
    return ReceivedBody(content, spool.sha256.hexdigest(), spool.size_bytes)


class _Spool:
    """What has come of a body: the last bytes in memory, those before them in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.buffer = bytearray()
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        self.file: IO[bytes] | None = None

    def add(self, chunk: bytes) -> None:
        self.sha256.update(chunk)
        self.size_bytes += len(chunk)
        self.buffer += chunk

    def write(self) -> None:
        try:
            if self.file is None:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.file = tempfile.NamedTemporaryFile(prefix="body-", dir=self.folder, delete=False)  # noqa: SIM115
            self.file.write(self.buffer)
            self.file.flush()
        except OSError as error:
            raise LakeError(f"folder {self.folder} cannot be written: {error}; free space") from error
        self.buffer.clear()

    def finish(self) -> bytes | Path:
        """Return the bytes, or the file once it has all of them."""
        if self.file is None:
            return bytes(self.buffer)
        self.write()
        self.file.close()
        return Path(self.file.name)

    def discard(self) -> None:
        if self.file is not None:
            self.file.close()
            Path(self.file.name).unlink(missing_ok=True)


def _bound_receive(scope: Scope, receive: Receive, bound: _BodyBound) -> Receive:
    state = {"bytes": 0, "is_complete": False}
    deadline: float | None = None

    async def receive_bounded() -> Message:
        nonlocal deadline
        if state["is_complete"]:
            # What comes now is that the client left; a handler may wait for it.
            return await receive()
        if deadline is None:
            _check_head(scope, bound)
            deadline = asyncio.get_running_loop().time() + bound.timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            reason = f"the body did not come within {bound.timeout_s:g} s; send it again"
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, reason, {"Connection": "close"}) from error
        state["bytes"] += len(message.get("body", b""))
        state["is_complete"] = not message.get("more_body", False)
        if state["bytes"] > bound.largest_bytes:
            raise _refuse_size(bound)
        return message

    return receive_bounded


def _check_head(scope: Scope, bound: _BodyBound) -> None:
    """Refuse a body by its headers. A compressed one would be kept as it came, and acknowledged as what it is not."""
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.strip().lower() not in _PLAIN_ENCODINGS:
            reason = "the body has a Content-Encoding; send it without compression"
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, reason, {"Connection": "close"})
        if name == b"content-length" and value.isdigit() and int(value[:20]) > bound.largest_bytes:
            raise _refuse_size(bound)


def _refuse_size(bound: _BodyBound) -> HTTPException:
    reason = f"the body has more than {bound.largest_bytes} bytes; send less at a time"
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason, {"Connection": "close"})


def _check_length(request: Request, size_bytes: int) -> None:
    declared = request.headers.get("content-length")
    if declared is not None and declared != str(size_bytes):
        raise ProblemError(BAD_REQUEST, f"{size_bytes} bytes came, but Content-Length differs; send the body again")


def read_content_digest(request: Request) -> bytes:
    """Return the sha256 of `Content-Digest` (RFC 9530); raises `ProblemError` if it is missing or malformed."""
    fault = "send the body's sha256 as `Content-Digest: sha-256=:BASE64:` (RFC 9530)"
    found = b""
    for item in ",".join(request.headers.getlist("content-digest")).split(","):
        match = _DIGEST_ITEM.fullmatch(item)
        if match is None:
            raise ProblemError(BAD_REQUEST, f"Content-Digest is missing or malformed; {fault}")
        if match[1] == "sha-256":
            try:
                found = base64.b64decode(match[2], validate=True)
            except binascii.Error:
                found = b""
    if len(found) != hashlib.sha256().digest_size:
        raise ProblemError(BAD_REQUEST, f"Content-Digest has no sha-256 of 32 bytes; {fault}")
    return found
