"""Pointers of Git LFS: what a clone has in place of a large file until `git lfs pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

LFS_FAULT: Final = (
    "is a pointer of Git LFS, not the file itself; run `git lfs pull` where it is from, and copy it again"
)
_START: Final = b"version https://git-lfs.github.com/spec/"


def is_lfs_pointer(source: bytes | Path) -> bool:
    """Return whether bytes, or an existing file, are a pointer of Git LFS."""
    if isinstance(source, bytes):
        return source.startswith(_START)
    with source.open("rb") as file:
        return is_lfs_pointer(file.read(len(_START)))
