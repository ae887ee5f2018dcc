"""Faults of the environment: a disk that fills, and a clock that jumps."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

_BLOCK = b"\0" * (1 << 20)


class SmallDisk:
    """A small file system in `folder`, which a ballast file fills.

    It is a tmpfs where mounting is allowed (root on Linux). Elsewhere `folder` is an ordinary folder and never full;
    `description` then says so.
    """

    def __init__(self, folder: Path, mib: int) -> None:
        self.folder, self._ballast, self._mib = folder, folder / "ballast", mib
        self._is_mounted = False
        self.description = ""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._mib}m", "tmpfs", str(self.folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            self._is_mounted, problem = done.returncode == 0, done.stderr.strip()
        except FileNotFoundError as error:
            problem = str(error)
        self.description = (
            f"tmpfs of {self._mib} MiB" if self._is_mounted else f"NOT LIMITED, so it never fills ({problem})"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self) -> None:
        """Write the ballast file until the disk is full."""
        if not self._is_mounted:
            return
        try:
            with self._ballast.open("ab", buffering=0) as out:
                while True:
                    out.write(_BLOCK)
        except OSError:
            pass  # It is full.

    def empty(self) -> None:
        """Remove the ballast file."""
        self._ballast.unlink(missing_ok=True)


class FakeClock:
    """The clock of processes that have `environment`: `hours` before or after the true time, and it can jump.

    It is libfaketime, which reads the offset from `file`. Monotonic clocks stay true. Where libfaketime is not installed or
    does not know the platform, the clock does not jump; `description` then says so.
    """

    def __init__(self, file: Path) -> None:
        self._file, self.hours = file, 0.0
        self.environment: dict[str, str] = {}
        self.description = "NOT FAKED, so it never jumps (libfaketime is missing)"
        if sys.platform == "linux" and importlib.util.find_spec("libfaketime"):
            from libfaketime import get_reload_information

            self.environment = {
                **get_reload_information()[1],
                "FAKETIME_TIMESTAMP_FILE": str(file),
                "FAKETIME_DID_REEXEC": "true",
            }
            self.description = "libfaketime"
        self.set(0.0)

    def set(self, hours: float) -> None:
        """Let the clock jump to `hours` after the true time."""
        self.hours = hours
        scratch = self._file.with_suffix(".new")
        scratch.write_text(f"{round(3600 * hours):+d}\n")
        scratch.replace(self._file)
