"""One line of `doctor` or `status`: a subject, its state and the next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Health = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    subject: str
    health: Health
    found: str
    next_step: str = ""
    values: Mapping[str, str | int | float | None] = field(default_factory=dict)
    """The figures of `found`, for programs."""
