"""An object of the lake as a file of which ranges are read, for readers of parquet."""

from __future__ import annotations

import io
from collections.abc import Callable


class ObjectRanges(io.RawIOBase):
    """A read-only file; each read is a request to the store."""

    def __init__(self, read_range: Callable[[int, int], bytes], size_bytes: int) -> None:
        super().__init__()
        self._read_range, self._size_bytes, self._at = read_range, size_bytes, 0

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """See `io.RawIOBase`."""
        left = max(0, self._size_bytes - self._at)
        length = left if size is None or size < 0 else min(size, left)
        data = self._read_range(self._at, length) if length else b""
        self._at += len(data)
        return data
