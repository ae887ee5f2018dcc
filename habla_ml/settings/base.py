"""Types of the settings: paths, time zones, shares, and the section.

Relative paths start at the folder that contains `configs/`, which `load_settings` passes as the context `root`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo


def _resolve_below_root(path: Path, info: ValidationInfo) -> Path:
    root = (info.context or {}).get("root", Path.cwd())
    return Path(root) / path.expanduser()


def _require_existing(path: Path, info: ValidationInfo) -> Path:
    path = _resolve_below_root(path, info)
    if not path.exists():
        raise ValueError(f"{path} does not exist; create it or set another path")
    return path


def _resolve_location(url: str, info: ValidationInfo) -> str:
    return url if "://" in url else str(_resolve_below_root(Path(url), info))


def _require_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is not an IANA time zone; an example is Europe/Madrid") from None
    return name


def _require_cron(expression: str) -> str:
    if len(expression.split()) != 5:
        raise ValueError(f"{expression!r} is not a cron expression with five fields; an example is '0 3 1 */3 *'")
    return expression


LocalPath = Annotated[Path, AfterValidator(_resolve_below_root)]
ExistingPath = Annotated[Path, AfterValidator(_require_existing)]
Location = Annotated[str, AfterValidator(_resolve_location)]
TimeZone = Annotated[str, AfterValidator(_require_time_zone)]
Cron = Annotated[str, AfterValidator(_require_cron)]
Fraction = Annotated[float, Field(ge=0, le=1)]
EnvironmentVariable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
"""Name of an environment variable with a secret, which is never written to a file."""


class SettingsSection(BaseModel):
    """A part of the settings: frozen, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
