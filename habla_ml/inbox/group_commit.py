"""Commit the small writes of several threads together, because each commit waits for the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_MOST_ITEMS: Final = 200
_LONGEST_WAIT_S: Final = 0.005
"""For the items that other threads prepare; the files of a group are then written at the same time."""


@dataclass(eq=False)
class _Ticket(Generic[Item, Outcome]):
    item: Item | None = None
    outcome: Outcome | None = None
    error: Exception | None = None
    is_done: bool = False


class GroupCommit(Generic[Item, Outcome]):
    """Calls of `run` that come while a commit is in progress share the next one.

    `commit` writes all items in one transaction, and returns an outcome for each after it is durable. If it raises, nothing
    is written, and all callers of the group receive the error.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], Sequence[Outcome]]) -> None:
        self._commit = commit
        self._preparing: set[_Ticket[Item, Outcome]] = set()
        self._waiting: list[_Ticket[Item, Outcome]] = []
        self._changed = threading.Condition()
        self._commits = threading.Lock()

    def run(self, prepare: Callable[[], Item]) -> Outcome:
        """Prepare an item, and return its outcome once it is durable, or raise what `prepare` or `commit` raised."""
        ticket = self._prepare(prepare)
        while not ticket.is_done:
            with self._commits:
                # The thread before may have committed this item too.
                if not ticket.is_done:
                    self._commit_waiting()
        if ticket.error is not None:
            raise ticket.error
        return ticket.outcome  # type: ignore[return-value]

    def _prepare(self, prepare: Callable[[], Item]) -> _Ticket[Item, Outcome]:
        ticket = _Ticket[Item, Outcome]()
        with self._changed:
            self._preparing.add(ticket)
        try:
            ticket.item = prepare()
        finally:
            with self._changed:
                self._preparing.remove(ticket)
                if ticket.item is not None:
                    self._waiting.append(ticket)
                self._changed.notify()
        return ticket

    def _commit_waiting(self) -> None:
        with self._changed:
            awaited = set(self._preparing)
            self._changed.wait_for(lambda: awaited.isdisjoint(self._preparing), _LONGEST_WAIT_S)
            group, self._waiting = self._waiting[:_MOST_ITEMS], self._waiting[_MOST_ITEMS:]
        try:
            outcomes = self._commit([each.item for each in group])  # type: ignore[misc]
            for ticket, outcome in zip(group, outcomes, strict=True):
                ticket.outcome = outcome
        except Exception as error:  # noqa: BLE001 (each caller raises it)
            for ticket in group:
                ticket.error = error
        finally:
            for ticket in group:
                ticket.is_done = True
