"""Answer a question about anything that has a lineage, by the form of its name."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any, Final

from habla_ml.lake import Lake, Store
from habla_ml.lineage.backward import trace_release, trace_version
from habla_ml.lineage.forward import trace_recording
from habla_ml.lineage.node import LINEAGE_FORMAT, Kind, LineageBounds, LineageNode, ReadCost
from habla_ml.model_version import is_version

_RELEASE_NAME: Final = re.compile(r"[0-9]{4}\.[0-9]{2}\.[0-9]{2}-v[1-9][0-9]*(\.[0-9]+)?")


@dataclass(frozen=True)
class Lineage:
    """The answer."""

    roots: tuple[LineageNode, ...]
    """One, or one for each manifest where two channels released different things under one name."""
    cost: ReadCost

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {"format": LINEAGE_FORMAT, "found": [each.to_json() for each in self.roots], "read": vars(self.cost)}


def recognise_kind(name: str) -> Kind:
    """Return what a name is of: a segment's UUID, `v3`, `2026.11.21-v3`, or else a session."""
    if is_version(name):
        return "version"
    if _RELEASE_NAME.fullmatch(name):
        return "release"
    try:
        return "segment" if str(uuid.UUID(name)) == name.lower() else "session"
    except ValueError:
        return "session"


def trace_lineage(lake: Lake, releases: Store, name: str, bounds: LineageBounds) -> Lineage:
    """Return what a recording led to, or what a version or a release came from.

    A recording costs the metadata of its day, which its session's name gives (otherwise of the newest days until it is
    found), and of each snapshot with that day the row groups of that day. A version or a release costs two to four
    columns of each of its snapshots. Memory holds a row group and an entry for each session.

    Raises:
        InputError: There is no such thing.
        ReleaseError: A manifest or a state of a channel is missing or damaged.
    """
    cost, kind = ReadCost(), recognise_kind(name)
    if kind == "version":
        return Lineage((trace_version(lake, releases, name, bounds, cost),), cost)
    if kind == "release":
        return Lineage(trace_release(lake, releases, name, bounds, cost), cost)
    name = name.lower() if kind == "segment" else name
    return Lineage((trace_recording(lake, releases, kind, name, bounds, cost),), cost)
