"""What a release is called: a version that a person reads and a number that only grows."""

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
    """Above that of every earlier release on the channel, whatever the date says."""
    rebuild: int = 1
    """Counts releases of one model version on one day, so that no two bear one name."""

    def __str__(self) -> str:
        suffix = "" if self.rebuild == 1 else f".{self.rebuild}"
        return f"{self.day:%Y.%m.%d}-{self.model_version}{suffix}"


def parse_model_number(model_version: str) -> int:
    """12 for `v12`; raises `ReleaseError` where it is not a model version."""
    number = version_number(model_version)
    if not number:
        raise ReleaseError(f"{model_version!r} is no model version; they are v1, v2, v3 and so on")
    return number
