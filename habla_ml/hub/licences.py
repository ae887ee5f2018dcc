"""Names of licences in the header of a card."""

from __future__ import annotations

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


def name_licence(licence: str) -> tuple[str, str | None]:
    """Return `license` and `license_name` of a card's header; the second is None for a licence that the Hub knows."""
    known = licence.lower()
    return (known, None) if known in _HUB_LICENCES else ("other", licence)
