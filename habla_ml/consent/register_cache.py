"""The register's file in the memory of a process that needs it for every request."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from habla_ml.consent.register import Register, parse_register, read_register_bytes
from habla_ml.errors import InputUnavailableError


class RegisterCache:
    """The register, parsed again when its file has changed. Several threads may use it.

    Args:
        path: The file; None for a deployment without one.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = Lock()
        self._signature: tuple[int, int, int] | None = None
        self._found: Register | InputUnavailableError = Register()

    def read(self) -> Register:
        """Return the present register, which is empty without a file; costs one `stat` while the file is unchanged.

        Raises `InputUnavailableError` if it cannot be read.
        """
        if self._path is None:
            return Register()
        with self._lock:
            signature = _sign(self._path)
            if signature != self._signature:
                self._found = _load(self._path)
                self._signature = signature
            found = self._found
        if isinstance(found, InputUnavailableError):
            raise found
        return found


def _sign(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)  # the reading says why
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _load(path: Path) -> Register | InputUnavailableError:
    try:
        return parse_register(read_register_bytes(path), path)
    except InputUnavailableError as error:
        return error
