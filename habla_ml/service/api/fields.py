"""The values that devices send, with their bounds: ids, moments, names and texts."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from habla_ml.names import canonical_name

UUID_PATTERN: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_MOMENT_PATTERN: Final = (
    r"^(19[7-9][0-9]|2[01][0-9]{2})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(\.[0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
_PSEUDONYM_PATTERN: Final = "^[!-.0-~¡-¬®-ʯ]([ -.0-~¡-¬®-ʯ]*[!-.0-~¡-¬®-ʯ])?$"
_ALLOWED_CONTROLS: Final = "\t\n\v\f\r\x85"
"""Tabs and the line ends of every system."""
LONGEST_TEXT: Final = 2_000
LONGEST_NAME: Final = 100


def parse_moment(value: Any) -> datetime:
    """Return the moment of an RFC 3339 text; raises `ValueError` for anything else, or a year outside 1970 to 2199."""
    if not isinstance(value, str) or not re.match(_MOMENT_PATTERN, value):
        raise ValueError("use RFC 3339 with a zone and a year from 1970 to 2199, such as 2026-11-29T09:30:00Z")
    return datetime.fromisoformat(value.upper())


def decode_header(value: Any) -> Any:
    """Return the text of a header's bytes in UTF-8; raises `ValueError` if they are not UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8") if isinstance(value, str) else value
    except UnicodeError:
        raise ValueError("is not UTF-8") from None


def require_printable(text: str) -> str:
    """Return the text; raise `ValueError` if it has a control character other than tabs and line ends."""
    if any(unicodedata.category(each) in ("Cc", "Cs") and each not in _ALLOWED_CONTROLS for each in text):
        raise ValueError("has a control character; leave it out")
    return text


def _require_visible(text: str) -> str:
    if any(unicodedata.category(each)[0] == "C" for each in text) or not 0 < len(canonical_name(text)) <= LONGEST_NAME:
        raise ValueError(f"use 1 to {LONGEST_NAME} visible characters")
    return text


Uuid = Annotated[str, Field(pattern=UUID_PATTERN, min_length=36, max_length=36)]
"""A UUID in lower case with hyphens."""
Moment = Annotated[
    datetime,
    BeforeValidator(parse_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _MOMENT_PATTERN}),
]
"""An RFC 3339 time with a zone."""
PlainText = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(require_printable)]
"""A text as typed, without control characters."""
HeaderName = Annotated[
    str, BeforeValidator(decode_header), Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_require_visible)
]
"""A name in a header, in UTF-8."""
Pseudonym = Annotated[
    str, Field(min_length=1, max_length=LONGEST_NAME, pattern=_PSEUDONYM_PATTERN), AfterValidator(_require_visible)
]
"""A pseudonym in a path or a body: Latin letters, digits, signs and inner spaces, without `/`."""
