"""Types of the settings: paths, time zones, shares, and the section.

Relative paths start at the folder that contains `configs/`, which `load_settings` passes as the context `root`.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from habla_ml.settings.cron import require_cron

WRONG_DAY: Final = "wrong_day"
"""Type of pydantic's error for a value that is no day."""
UNQUOTED: Final = "unquoted"
"""Type of pydantic's error for a value that can have a secret, so that no message quotes it."""
_ENDPOINT_URL: Final = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _resolve_below_root(path: Path, info: ValidationInfo) -> Path:
    root = (info.context or {}).get("root", Path.cwd())
    return Path(root) / path.expanduser()


def _require_existing(path: Path, info: ValidationInfo) -> Path:
    path = _resolve_below_root(path, info)
    try:
        is_there = path.exists()
    except OSError as error:  # a folder above it that this user may not enter, or a name that is too long
        raise ValueError(f"{path} cannot be read ({error.strerror}); fix its permissions or set another path") from None
    if not is_there:
        raise ValueError(f"{path} does not exist; create it or set another path")
    return path


def _resolve_location(url: str, info: ValidationInfo) -> str:
    return url if "://" in url else str(_resolve_below_root(Path(url), info))


def _require_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # `Europe` is a folder of the zones
        raise ValueError(f"{name!r} is not an IANA time zone; an example is Europe/Madrid") from None
    return name


def _require_endpoint_url(url: str) -> str:
    """Return the address of an S3 endpoint; an address with a key is not quoted."""
    if "@" in url:
        raise PydanticCustomError(
            UNQUOTED, "has a name or a key before @; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not _ENDPOINT_URL.fullmatch(url):
        raise ValueError("expected the whole address, such as https://s3.example.org or http://localhost:9000")
    return url


def _parse_day(value: Any) -> date:
    """Return the day of a YAML date, or of a text in the form of one; refuse all else that pydantic takes for a date."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str) and _DAY.fullmatch(value.strip()):
            return date.fromisoformat(value.strip())
    except ValueError:
        pass  # a day that no calendar has
    raise PydanticCustomError(
        WRONG_DAY, "expected a day of the calendar like 2026-02-16 (year-month-day, without a time)"
    )


LocalPath = Annotated[Path, AfterValidator(_resolve_below_root)]
ExistingPath = Annotated[Path, AfterValidator(_require_existing)]
Location = Annotated[str, AfterValidator(_resolve_location)]
TimeZone = Annotated[str, AfterValidator(_require_time_zone)]
Cron = Annotated[str, AfterValidator(require_cron)]
Day = Annotated[date, BeforeValidator(_parse_day)]
DayText = Annotated[str, BeforeValidator(lambda value: _parse_day(value).isoformat())]
"""A day as text, in the form 2026-02-16."""
Fraction = Annotated[float, Field(ge=0, le=1)]
EndpointUrl = Annotated[str, AfterValidator(_require_endpoint_url)]
EnvironmentVariable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
"""Name of an environment variable with a secret, which is never written to a file."""


class SettingsSection(BaseModel):
    """A part of the settings: frozen, without unknown keys, infinite numbers and `.nan`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
