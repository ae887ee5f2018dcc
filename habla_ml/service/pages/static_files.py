"""Styles and scripts of the pages. Each address has the digest of the content, so a browser may keep a file for ever."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Response

from habla_ml.service.problems import NOT_FOUND, ProblemError

_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_COMMON_STYLE: Final = "page.css"
"""The style that the pages share with the reports."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class StaticFile:
    """A file of the package."""

    name: str
    content: bytes
    media_type: str

    @property
    def address(self) -> str:
        """Path that changes with the content."""
        return f"/static/{hashlib.sha256(self.content).hexdigest()[:16]}/{self.name}"


@cache
def load_static_files() -> dict[str, StaticFile]:
    """Return the styles and scripts by name."""
    common = files("habla_ml") / "templates" / _COMMON_STYLE
    found = [common, *(files(__package__) / "static").iterdir()]
    return {
        each.name: StaticFile(each.name, each.read_bytes(), _MEDIA_TYPES[f".{each.name.rpartition('.')[2]}"])
        for each in found
        if each.is_file()
    }


def get_static_address(name: str) -> str:
    """Return the address of a style or script; raises `KeyError` if the package has no such file."""
    return load_static_files()[name].address


@router.get("/static/{digest}/{name}")
def read_static_file(digest: str, name: str) -> Response:
    """Return a style or script."""
    found = load_static_files().get(name)
    if found is None or found.address != f"/static/{digest}/{name}":
        raise ProblemError(NOT_FOUND, "There is no such file")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(found.content, media_type=found.media_type, headers=headers)
