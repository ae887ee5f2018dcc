"""Which model versions continue from which: their training started from the other's weights, which the hub kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from habla_ml.lake import Lake, catalogue
from habla_ml.training.record import read_training_record


@dataclass(frozen=True)
class Continuations:
    """The links between the trained versions of a lake."""

    parents: Mapping[str, tuple[str, ...]]
    """Version → the versions with the weights that its training started from; several if two have equal weights."""

    def find_children(self, version: str) -> list[str]:
        """Return the versions that continue from this one directly."""
        return sorted(child for child, parents in self.parents.items() if version in parents)

    def find_descendants(self, versions: Collection[str]) -> set[str]:
        """Return the versions that continue from these, directly or over other versions."""
        found: set[str] = set()
        reached = set(versions)
        while new := {child for child, parents in self.parents.items() if reached & set(parents)} - found:
            found |= new
            reached |= new
        return found


def read_continuations(lake: Lake) -> Continuations:
    """Read the record of every trained version."""
    records = [read_training_record(lake, version) for version in catalogue.CHECKPOINT.keys(lake)]
    present = {each.version: each for each in records if each is not None}
    # Where a training changed no weight, a version equals its own start.
    return Continuations(
        {
            version: tuple(name for name, other in present.items() if other.tree == each.start.tree and name != version)
            for version, each in present.items()
            if each.start is not None
        }
    )
