"""Names of releases: a readable version and a growing number."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from habla_ml.errors import ReleaseError
from habla_ml.model_version import version_number


@dataclass(frozen=True)
class ReleaseVersion:
    """The version of one release on one channel, e.g. `2026.11.21-v2`."""

    day: date
    model_version: str
    number: int
    """Grows with each release of the channel, independent of the date."""
    rebuild: int = 1
    """Counts the releases of one model version on one day."""

    def __str__(self) -> str:
        suffix = "" if self.rebuild == 1 else f".{self.rebuild}"
        return f"{self.day:%Y.%m.%d}-{self.model_version}{suffix}"


def parse_model_number(model_version: str) -> int:
    """Return 12 for `v12`; raises `ReleaseError` if it is not a model version."""
    number = version_number(model_version)
    if not number:
        raise ReleaseError(f"invalid model version {model_version!r}; use v1, v2, v3 and so on")
    return number
