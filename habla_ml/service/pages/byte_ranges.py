"""Answer a request for a part of some bytes (RFC 9110 section 14), which players of audio send."""

from __future__ import annotations

import re
from typing import Final

from fastapi import Response

_RANGE: Final = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)


def build_range_response(content: bytes, byte_range: str, media_type: str) -> Response:
    """Return the range that the header `Range` asks for; all of it for no, several or malformed ranges."""
    size, headers = len(content), {"Accept-Ranges": "bytes"}
    found = _RANGE.fullmatch(byte_range.strip())
    if found is None or not any(found.groups()):
        return Response(content, media_type=media_type, headers=headers)
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < int(first):
        return Response(content, media_type=media_type, headers=headers)
    if start >= size:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Response(content[start:stop], 206, media_type=media_type, headers=headers)
