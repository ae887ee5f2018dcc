"""Which model versions use which snapshot, from the pointers of plans, reports and sealed results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from habla_ml.corpus.snapshot import Split
from habla_ml.lake import Lake, catalogue

Purpose = Literal["training", "evaluation", "sealed evaluation"]
PURPOSE_SPLITS: Final[Mapping[Purpose, tuple[Split, ...]]] = {
    "training": ("train", "validation"),
    "evaluation": ("test",),
    "sealed evaluation": ("sealed",),
}
"""The splits that a version reads. Validation chooses the step of the weights, so it belongs to the training."""
_FAMILIES: Final[Mapping[Purpose, catalogue.PointerFamily]] = {
    "training": catalogue.PLAN,
    "evaluation": catalogue.REPORT,
    "sealed evaluation": catalogue.SEALED_RESULT,
}


@dataclass(frozen=True)
class SnapshotUse:
    """A model version uses a snapshot."""

    version: str
    snapshot: str
    """Object id."""
    purpose: Purpose


def list_snapshot_uses(lake: Lake) -> Iterator[SnapshotUse]:
    """Yield each use of a snapshot by a model version; reads three pointers of each version at most."""
    for purpose, family in _FAMILIES.items():
        for version in family.keys(lake):
            if (use := _read_use(lake, version, purpose)) is not None:
                yield use


def find_snapshot_uses(lake: Lake, version: str) -> list[SnapshotUse]:
    """Return the uses of one version; empty where it has no plan, report or sealed result."""
    found = (_read_use(lake, version, purpose) for purpose in _FAMILIES)
    return [each for each in found if each is not None]


def _read_use(lake: Lake, version: str, purpose: Purpose) -> SnapshotUse | None:
    pointer = lake.read_pointer(_FAMILIES[purpose].name(version))
    return None if pointer is None else SnapshotUse(version, str(pointer.value["snapshot"]), purpose)
