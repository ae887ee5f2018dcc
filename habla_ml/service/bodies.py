"""Bodies of requests: bounded in size and time on every route, and received into a file where they are large."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import anyio
from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from habla_ml.errors import LakeError
from habla_ml.service.problems import BAD_REQUEST, DIGEST_MISMATCH, ProblemError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SCOPE_KEY: Final = "habla_ml.body_bound"
_BUFFER_BYTES: Final = 1_000_000
_DIGEST_ITEM: Final = re.compile(r"[ \t]*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):[ \t]*")


@dataclass(frozen=True)
class ReceivedBody:
    """A body in a file, which the caller moves or deletes. Its digest is the one that the client sent."""

    path: Path
    sha256: str
    size_bytes: int


class _BodyBound:
    """What a body may be: bytes, and seconds from its first read to its end."""

    def __init__(self, largest_bytes: int, timeout_s: float) -> None:
        self.largest_bytes = largest_bytes
        self.timeout_s = timeout_s


class BodyBoundMiddleware:
    """Refuse bodies above a size (413) and slower than a time (408), whatever their headers claim."""

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


async def read_body_to_file(request: Request, folder: Path, largest_bytes: int, timeout_s: float) -> ReceivedBody:
    """Receive a request's body into a new file of `folder`, and compare it with its `Content-Digest` (RFC 9530).

    The bounds replace those of other bodies. Nothing is left in the folder if the body is not received. The file is not
    flushed to the disk.

    Raises:
        ProblemError: The digest is missing or differs, or the body is cut off.
        HTTPException: The body is too large (413) or too slow (408).
        LakeError: The folder cannot be written.
    """
    digest = read_content_digest(request)
    bound: _BodyBound = request.scope[_SCOPE_KEY]
    bound.largest_bytes, bound.timeout_s = largest_bytes, timeout_s
    handle, name = await to_thread.run_sync(_create_file, folder)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            sha256, size_bytes = await _copy_stream(request, file)
        _check_length(request, size_bytes)
        if sha256.digest() != digest:
            raise ProblemError(DIGEST_MISMATCH, f"{size_bytes} bytes came that differ from the digest; send them again")
    except ClientDisconnect as error:
        path.unlink()
        raise ProblemError(BAD_REQUEST, "the body is cut off; send it again") from error
    except OSError as error:
        path.unlink()
        raise LakeError(f"folder {folder} cannot be written: {error}; free space") from error
    except BaseException:
        path.unlink()
        raise
    return ReceivedBody(path, sha256.hexdigest(), size_bytes)


async def _copy_stream(request: Request, file: BinaryIO) -> tuple[hashlib._Hash, int]:
    sha256, size_bytes, buffer = hashlib.sha256(), 0, bytearray()
    async for chunk in request.stream():
        sha256.update(chunk)
        size_bytes += len(chunk)
        buffer += chunk
        if len(buffer) >= _BUFFER_BYTES:
            await to_thread.run_sync(file.write, bytes(buffer))
            buffer.clear()
    await to_thread.run_sync(_write_and_flush, file, bytes(buffer))
    return sha256, size_bytes


def _write_and_flush(file: BinaryIO, content: bytes) -> None:
    file.write(content)
    file.flush()


def _bound_receive(scope: Scope, receive: Receive, bound: _BodyBound) -> Receive:
    state = {"bytes": 0, "is_complete": False}
    deadline: float | None = None

    async def receive_bounded() -> Message:
        nonlocal deadline
        if state["is_complete"]:
            # What comes now is that the client left; a handler may wait for it.
            return await receive()
        if deadline is None:
            _check_declared_length(scope, bound)
            deadline = anyio.current_time() + bound.timeout_s
        try:
            with anyio.fail_after(max(0.0, deadline - anyio.current_time())):
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


def _check_declared_length(scope: Scope, bound: _BodyBound) -> None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > bound.largest_bytes:
            raise _refuse_size(bound)


def _refuse_size(bound: _BodyBound) -> HTTPException:
    reason = f"the body has more than {bound.largest_bytes} bytes; send less at a time"
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason, {"Connection": "close"})


def _check_length(request: Request, size_bytes: int) -> None:
    declared = request.headers.get("content-length")
    if declared is not None and declared != str(size_bytes):
        raise ProblemError(BAD_REQUEST, f"{size_bytes} bytes came, but Content-Length differs; send the body again")


def _create_file(folder: Path) -> tuple[int, str]:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return tempfile.mkstemp(prefix="body-", dir=folder)
    except OSError as error:
        raise LakeError(f"folder {folder} cannot be written: {error}; free space") from error


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
