"""Commit the small writes of several threads together, because each commit waits for the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_MOST_ITEMS: Final = 200


@dataclass
class _Ticket(Generic[Item, Outcome]):
    item: Item
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
        self._waiting: list[_Ticket[Item, Outcome]] = []
        self._adds = threading.Lock()
        self._commits = threading.Lock()

    def run(self, item: Item) -> Outcome:
        """Return the outcome of an item once it is durable, or raise what `commit` raised."""
        ticket = _Ticket[Item, Outcome](item)
        with self._adds:
            self._waiting.append(ticket)
        while not ticket.is_done:
            with self._commits:
                # The thread before may have committed this item too.
                if not ticket.is_done:
                    self._commit_waiting()
        if ticket.error is not None:
            raise ticket.error
        return ticket.outcome  # type: ignore[return-value]

    def _commit_waiting(self) -> None:
        with self._adds:
            group, self._waiting = self._waiting[:_MOST_ITEMS], self._waiting[_MOST_ITEMS:]
        try:
            outcomes = self._commit([each.item for each in group])
            for ticket, outcome in zip(group, outcomes, strict=True):
                ticket.outcome = outcome
        except Exception as error:  # noqa: BLE001 (each caller raises it)
            for ticket in group:
                ticket.error = error
        finally:
            for ticket in group:
                ticket.is_done = True
