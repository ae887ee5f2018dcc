"""The rules of an update, for apps and for the service: which apps may load a model, and which devices install it."""

from __future__ import annotations

import hashlib
from typing import Final

APP_VERSION_PATTERN: Final = r"^[0-9]{1,9}(\.[0-9]{1,9}){0,3}$"
_LONGEST_VERSION: Final = 4


def is_app_new_enough(app_version: str, minimum: str | None) -> bool:
    """Return whether an app may load a model; `1.2` equals `1.2.0`. Raises `ValueError` for other texts."""
    return minimum is None or _parse(app_version) >= _parse(minimum)


def is_in_rollout(installation: str, version: str, percent: int) -> bool:
    """Return whether an installation is in the share of `percent` that installs `version`.

    The place is the first 8 bytes of sha256(`installation/version`), as a big-endian number modulo 100. A larger share
    contains each smaller one, and another version has other devices first.
    """
    digest = hashlib.sha256(f"{installation}/{version}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100 < percent


def _parse(version: str) -> tuple[int, ...]:
    parts = tuple(map(int, version.split(".")))
    return parts + (0,) * (_LONGEST_VERSION - len(parts))
