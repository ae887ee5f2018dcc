"""The files of an artefact and the digest that names it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from habla_ml.lake import compute_sha256


@dataclass(frozen=True)
class ArtefactFile:
    """One file of an artefact.

    Attributes:
        path: Its place inside the artefact, with forward slashes.
        size_bytes: Its length.
        sha256: Of its bytes, in hexadecimal.
    """

    path: str
    size_bytes: int
    sha256: str


def list_artefact_files(folder: Path) -> tuple[ArtefactFile, ...]:
    """Every file below `folder`, sorted by path."""
    found = (path for path in folder.rglob("*") if path.is_file())
    files = (
        ArtefactFile(path.relative_to(folder).as_posix(), path.stat().st_size, compute_sha256(path))
        for path in found
    )
    return tuple(sorted(files, key=lambda file: file.path))


def compute_artefact_digest(files: Iterable[ArtefactFile]) -> str:
    """One SHA-256 over names, sizes and contents: equal exactly when the artefacts are, wherever they lie."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.path):
        digest.update(f"{file.path}\0{file.size_bytes}\0{file.sha256}\n".encode())
    return digest.hexdigest()
