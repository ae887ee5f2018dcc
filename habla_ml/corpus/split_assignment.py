"""Dealing groups to splits by hours: a random order that nobody can lean on and everybody can repeat.

A new group goes where the hours are shortest relative to the shares, in an order that a seeded hash of the groups'
names decides. Where that misses the shares by more than a point, the large groups are dealt first, each to a split
that has room for it, and the small ones even out the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from habla_ml.corpus.snapshot import SPLITS, Split
from habla_ml.errors import CorpusError
from habla_ml.settings import SplitSettings

MIN_GROUPS: Final = 3
"""With fewer groups there can be no train, validation and test: all go to train, and the test set is empty."""
SHARE_TOLERANCE: Final = 0.01
"""How far a split's share of the hours may be from the one asked for."""

# Of splits equally short, test is filled first.
_FILL_ORDER: Final[tuple[Split, ...]] = ("test", "validation", "train")


@dataclass
class _Assignment:
    shares: Mapping[Split, float]
    open_splits: list[Split]
    hours: Mapping[str, float]
    eligible_hours: Mapping[str, float]
    groups: dict[str, Split]
    filled: dict[Split, float]

    def assign(self, group: str, split: Split) -> None:
        self.groups[group] = split
        hours = self.hours if split == "train" else self.eligible_hours
        self.filled[split] += hours.get(group, 0.0)

    def list_allowed_splits(self, group: str) -> list[Split]:
        """A group of which nothing may be held out can only be train."""
        return self.open_splits if self.eligible_hours.get(group, 0.0) > 0 else ["train"]

    def round_robin(self, order: list[str]) -> None:
        for group in order:
            self.assign(
                group, min(self.list_allowed_splits(group), key=lambda each: self.filled[each] / self.shares[each])
            )

    def largest_first(self, order: list[str], total: float) -> None:
        large = [group for group in order if self.hours[group] > SHARE_TOLERANCE * total]
        large.sort(key=lambda group: self.hours[group], reverse=True)
        small = [group for group in order if self.hours[group] <= SHARE_TOLERANCE * total]
        for place, group in enumerate([*large, *small]):
            splits = self.list_allowed_splits(group)
            empty = [each for each in splits if not self.filled[each]]
            has_room = [
                each
                for each in splits
                if self.filled[each] + self.hours[group] <= (self.shares[each] + SHARE_TOLERANCE) * total
            ]
            if len(empty) >= len(order) - place or not has_room:
                self.assign(
                    group, max(empty or splits, key=lambda each: self.shares[each] * total - self.filled[each])
                )
            else:
                self.assign(group, min(has_room, key=lambda each: self.filled[each] / self.shares[each]))


def assign_splits(
    hours: Mapping[str, float],
    ledger: Mapping[str, Split],
    settings: SplitSettings,
    eligible_hours: Mapping[str, float] | None = None,
) -> dict[str, Split]:
    """The ledger's groups as they are, and a split for every group of `hours` that is new.

    Args:
        hours: group → its usable hours now.
        ledger: group → split, as decided before; groups without hours now stay in it.
        settings: shares of validation and test, and the seed of the order.
        eligible_hours: group → the hours of it that may be validation or test; all of them where it is not given.

    Raises:
        CorpusError: the shares leave nothing for train.
    """
    shares = compute_split_shares(settings)
    new = sorted(hours.keys() - ledger.keys(), key=lambda group: _hash_group(settings.seed, group))
    open_splits = [split for split in _FILL_ORDER if shares[split] > 0]
    if len(ledger) + len(new) < MIN_GROUPS:
        open_splits = ["train"]
    assignments = []
    for _ in range(2):
        filled = dict.fromkeys(SPLITS, 0.0)
        assignments.append(
            _Assignment(
                shares, open_splits, hours, hours if eligible_hours is None else eligible_hours, {}, filled
            )
        )
        for group, split in ledger.items():
            assignments[-1].assign(group, split)
    round_robin, largest_first = assignments
    round_robin.round_robin(new)
    if _measure_deviation(round_robin.filled, shares) > SHARE_TOLERANCE:
        largest_first.largest_first(new, sum(hours.values()))
        if _measure_deviation(largest_first.filled, shares) < _measure_deviation(round_robin.filled, shares):
            return largest_first.groups
    return round_robin.groups


def compute_split_shares(settings: SplitSettings) -> dict[Split, float]:
    """The share of the hours that each split should have.

    Raises:
        CorpusError: the shares leave nothing for train.
    """
    train = 1 - settings.validation - settings.test
    if train <= 0:
        raise CorpusError(
            f"splits.validation {settings.validation} and splits.test {settings.test} leave nothing for train; "
            "lower them below 1 together"
        )
    return {"train": train, "validation": settings.validation, "test": settings.test}


def _measure_deviation(filled: Mapping[Split, float], shares: Mapping[Split, float]) -> float:
    """How far the worst split is from its share, 0…1."""
    total = sum(filled.values())
    return max(abs(filled[split] / total - shares[split]) for split in SPLITS) if total else 0.0


def _hash_group(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{group}".encode()).digest()
