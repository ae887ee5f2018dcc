"""Count the files that this process opens, by Python's own audit event; nothing of the code under test is replaced."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_RECORDERS: list[list[str]] = []


@cache
def _install_hook() -> None:
    def record(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | Path):
            for each in _RECORDERS:
                each.append(str(arguments[0]))

    sys.addaudithook(record)  # there is no way to remove it, so it is installed once


@contextmanager
def record_opened_files(suffix: str) -> Iterator[list[str]]:
    """Yield a list that receives the name of each file with this suffix as it is opened."""
    _install_hook()
    opened: list[str] = []
    _RECORDERS.append(opened)
    try:
        yield opened
    finally:
        _RECORDERS.remove(opened)
        opened[:] = [Path(each).name for each in opened if each.endswith(suffix)]
