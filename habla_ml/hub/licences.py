"""Names of licences in the header of a card."""

from __future__ import annotations

import re
from typing import Final

_HUB_LICENCES: Final = (
    "agpl-3.0",
    "apache-2.0",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "gpl-3.0",
    "lgpl-3.0",
    "mit",
    "mpl-2.0",
)
"""Licences that the Hub knows by these names; others are stated as `other` with their name."""
_NO_ID_CHARACTERS: Final = re.compile(r"[^a-z0-9.]+")


def name_licence(licence: str) -> tuple[str, str | None]:
    """Return `license` and `license_name` of a card's header; the second is None for a licence that the Hub knows.

    `license_name` is an id such as `my-license-1.0` (the Hub's specification of model cards).
    """
    name = licence.lower()
    return (
        (name, None) if name in _HUB_LICENCES else ("other", _NO_ID_CHARACTERS.sub("-", name).strip("-") or "unnamed")
    )
