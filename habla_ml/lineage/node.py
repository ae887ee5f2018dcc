"""The result: a tree of linked things, without a transcript and without a name of a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

LINEAGE_FORMAT: Final = "habla_ml.lineage/1"

Kind = Literal["segment", "session", "snapshot", "version", "release", "hub dataset"]
Detail = str | int | float | bool | Sequence[str] | None


@dataclass(frozen=True)
class LineageNode:
    """A thing with an id, and what it leads to in the direction of the question."""

    kind: Kind
    id: str
    details: Mapping[str, Detail] = field(default_factory=dict)
    below: tuple[LineageNode, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {
            "kind": self.kind,
            "id": self.id,
            **self.details,
            "below": [each.to_json() for each in self.below],
        }


@dataclass
class ReadCost:
    """What an answer read; it grows while the answer is made."""

    days: int = 0
    """Days of recordings whose segment metadata were read."""
    snapshots: int = 0
    """Tables of snapshots that were read, whole or in part."""
    rows: int = 0
    """Rows of both."""

    def __str__(self) -> str:
        """Return it in words."""
        return f"read {self.days} days of recordings and {self.snapshots} snapshots, {self.rows:,} rows"


@dataclass(frozen=True)
class LineageBounds:
    """How much a question may read and list."""

    day: str | None = None
    """The only day of recordings to look at, `YYYY-MM-DD`; None finds the day."""
    most_days: int = 400
    """The newest days that are searched where the name of the session gives none."""
    most_sessions: int = 50
    """Sessions that are listed for each snapshot."""
    with_segments: bool = False
    """Whether the segments of listed sessions are listed too."""
    with_copies: bool = False
    """Whether each snapshot is read whole, to find other recordings of the same sound on other days."""
