"""Assignment of groups to splits by hours, in a random but reproducible order.

Each new group goes to the split that has the smallest part of its share of the hours, in an order given by a seeded
hash of the groups' names. If a split then misses its share by more than one point, a second method assigns the large
groups first, each to a split with enough missing hours. The small groups fill what remains.

Once the test set is large enough, a random part of its new groups is sealed (`choose_sealed_groups`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from habla_ml.corpus.snapshot import OPEN_SPLITS, Split
from habla_ml.errors import CorpusError
from habla_ml.settings import SplitSettings

MIN_GROUPS: Final = 3
"""Fewer groups cannot fill train, validation and test: all of them go to train, and the test set is empty."""
SHARE_TOLERANCE: Final = 0.01
"""Accepted difference between a split's share of the hours and the requested one."""

# Of equally filled splits, test is filled first.
_FILL_ORDER: Final[tuple[Split, ...]] = ("test", "validation", "train")


@dataclass
class _Assignment:
    shares: Mapping[Split, float]
    open_splits: list[Split]
    hours: Mapping[str, float]
    eligible_hours: Mapping[str, float]
    """Hours of each group that may be validation or test."""
    groups: dict[str, Split] = field(default_factory=dict)
    filled: dict[Split, float] = field(default_factory=lambda: dict.fromkeys(OPEN_SPLITS, 0.0))

    def assign(self, group: str, split: Split) -> None:
        self.groups[group] = split
        hours = self.hours if split == "train" else self.eligible_hours
        self.filled["test" if split == "sealed" else split] += hours.get(group, 0.0)

    def list_allowed_splits(self, group: str) -> list[Split]:
        """Return the splits of a group; a group without eligible hours can only be train."""
        return self.open_splits if self.eligible_hours.get(group, 0.0) > 0 else ["train"]

    def find_least_filled(self, splits: Iterable[Split]) -> Split:
        """Return the split with the smallest part of its share."""
        return min(splits, key=lambda split: self.filled[split] / self.shares[split])

    def measure_deviation(self) -> float:
        """Return the largest difference between a split's share of the hours and the requested one, 0…1."""
        total = sum(self.filled.values())
        return max(abs(self.filled[split] / total - self.shares[split]) for split in OPEN_SPLITS) if total else 0.0

    def round_robin(self, order: list[str]) -> None:
        for group in order:
            self.assign(group, self.find_least_filled(self.list_allowed_splits(group)))

    def largest_first(self, order: list[str]) -> None:
        total = sum(self.hours.values())
        is_large = {group: self.hours[group] > SHARE_TOLERANCE * total for group in order}
        order = sorted(order, key=lambda group: -self.hours[group] if is_large[group] else 0)
        for position, group in enumerate(order):
            splits = self.list_allowed_splits(group)
            empty = [split for split in splits if not self.filled[split]]
            most_h = {split: (self.shares[split] + SHARE_TOLERANCE) * total for split in splits}
            with_room = [split for split in splits if self.filled[split] + self.hours[group] <= most_h[split]]
            if len(empty) >= len(order) - position or not with_room:
                missing_h = {split: self.shares[split] * total - self.filled[split] for split in empty or splits}
                self.assign(group, max(missing_h, key=missing_h.__getitem__))
            else:
                self.assign(group, self.find_least_filled(with_room))


def assign_splits(
    hours: Mapping[str, float],
    ledger: Mapping[str, Split],
    settings: SplitSettings,
    eligible_hours: Mapping[str, float] | None = None,
) -> dict[str, Split]:
    """Return the ledger's groups unchanged, and an open split for every new group of `hours`.

    Sealed groups of the ledger count as test.

    Args:
        hours: Group → its usable hours now.
        ledger: Group → split, as decided before; may contain groups without hours now.
        settings: Shares of validation and test, and the seed of the order.
        eligible_hours: Group → its hours that may be validation or test; None for all.

    Raises:
        CorpusError: The shares leave nothing for train.
    """
    shares = compute_split_shares(settings)
    new = _sort_randomly(hours.keys() - ledger.keys(), settings)
    open_splits = [split for split in _FILL_ORDER if shares[split] > 0]
    if len(ledger) + len(new) < MIN_GROUPS:
        open_splits = ["train"]
    eligible_hours = hours if eligible_hours is None else eligible_hours
    round_robin, largest_first = (_Assignment(shares, open_splits, hours, eligible_hours) for _ in range(2))
    for assignment in (round_robin, largest_first):
        for group, split in ledger.items():
            assignment.assign(group, split)
    round_robin.round_robin(new)
    if round_robin.measure_deviation() > SHARE_TOLERANCE:
        largest_first.largest_first(new)
        if largest_first.measure_deviation() < round_robin.measure_deviation():
            return largest_first.groups
    return round_robin.groups


def choose_sealed_groups(
    assigned: Mapping[str, Split], ledger: Mapping[str, Split], sessions: Mapping[str, int], settings: SplitSettings
) -> frozenset[str]:
    """Return the new test groups that are sealed: each with the probability `sealed_share`, by a seeded hash.

    While test has fewer than `sealed_from_sessions` sessions, sealed ones included, new groups stay open: a young
    corpus needs its whole test set to decide.

    Args:
        assigned: Group → split, as `assign_splits` returns it.
        ledger: Group → split, as decided before; these groups keep their split.
        sessions: Group → its sessions now.
        settings: The share and the number of sessions.
    """
    held_out: tuple[Split, ...] = ("test", "sealed")
    present = sum(sessions.get(group, 0) for group, split in ledger.items() if split in held_out)
    new = (group for group in assigned.keys() - ledger.keys() if assigned[group] == "test")
    sealed = set()
    for group in _sort_randomly(new, settings):
        if present >= settings.sealed_from_sessions and _draw(group, settings) < settings.sealed_share:
            sealed.add(group)
        present += sessions.get(group, 0)
    return frozenset(sealed)


def _sort_randomly(groups: Iterable[str], settings: SplitSettings) -> list[str]:
    return sorted(groups, key=lambda group: hashlib.sha256(f"{settings.seed}\n{group}".encode()).digest())


def _draw(group: str, settings: SplitSettings) -> float:
    """Return a uniform number in 0…1 that is independent of the order of assignment."""
    digest = hashlib.sha256(f"sealed\n{settings.seed}\n{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def compute_split_shares(settings: SplitSettings) -> dict[Split, float]:
    """Return the requested share of the hours of each open split; the sealed share is a part of test.

    Raises:
        CorpusError: The shares leave nothing for train.
    """
    train = 1 - settings.validation - settings.test
    if train <= 0:
        raise CorpusError(
            f"splits.validation {settings.validation} and splits.test {settings.test} leave nothing for train; "
            "their sum must be below 1"
        )
    return {"train": train, "validation": settings.validation, "test": settings.test}
