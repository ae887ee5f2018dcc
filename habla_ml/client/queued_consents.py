"""The consents that a device recorded, in its offline queue.

A consent is durable here before it is sent, so that a repeated request has the same id, and a withdrawal knows it.
Pseudonyms are compared in their canonical form (`habla_ml.names`).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final, Literal

from habla_ml.client.wire import SentConsent
from habla_ml.names import canonical_name

CONSENT_TABLE: Final = """
CREATE TABLE IF NOT EXISTS consent (
    id TEXT PRIMARY KEY, contributor TEXT NOT NULL, document TEXT NOT NULL, uploaded INTEGER NOT NULL DEFAULT 0,
    refusal TEXT, withdrawal TEXT);
"""
Withdrawal = Literal["waiting", "sent", "refused"]
_COLUMNS: Final = "document, uploaded, refusal, withdrawal"


@dataclass(frozen=True)
class QueuedConsent:
    """A consent, and what became of it."""

    sent: SentConsent
    uploaded: bool
    """Whether the service has acknowledged it."""
    refusal: str | None
    """Type of the problem for which the service refused it; None if it did not."""
    withdrawal: Withdrawal | None
    """None before the contributor withdrew. `refused`: the service does not know the consent as one of this device."""


class QueuedConsents:
    """The consents in the database of a queue. Each change is durable when its method returns."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, consent: SentConsent) -> None:
        """Queue a consent."""
        self._connection.execute(
            "INSERT INTO consent (id, contributor, document) VALUES (?, ?, ?)",
            (consent.id, canonical_name(consent.contributor), consent.model_dump_json()),
        )

    def list_waiting(self) -> list[QueuedConsent]:
        """Return the consents to send, in the order in which they were given."""
        return self._read("uploaded = 0 AND refusal IS NULL AND withdrawal IS NULL")

    def list_waiting_withdrawals(self) -> list[QueuedConsent]:
        """Return the withdrawn consents whose withdrawal the service has not acknowledged."""
        return self._read("withdrawal = 'waiting'")

    def list_of_contributor(self, contributor: str) -> list[QueuedConsent]:
        """Return all consents of a contributor, in the order in which they were given."""
        return self._read("contributor = ?", canonical_name(contributor))

    def is_withdrawn(self, contributor: str) -> bool:
        """Return whether the contributor withdrew on this device and has not consented again here."""
        consents = self.list_of_contributor(contributor)
        return bool(consents) and consents[-1].withdrawal is not None

    def confirm(self, consent_id: str) -> None:
        """Record the acknowledgement of a consent."""
        self._connection.execute("UPDATE consent SET uploaded = 1 WHERE id = ?", (consent_id,))

    def refuse(self, consent_id: str, problem: str) -> None:
        """Record that the service refused a consent for good."""
        self._connection.execute("UPDATE consent SET refusal = ? WHERE id = ?", (problem, consent_id))

    def withdraw(self, contributor: str) -> None:
        """Mark all consents of a contributor as withdrawn; their withdrawal waits for the service."""
        self._connection.execute(
            "UPDATE consent SET withdrawal = 'waiting' WHERE withdrawal IS NULL AND contributor = ?",
            (canonical_name(contributor),),
        )

    def settle_withdrawal(self, consent_id: str, outcome: Withdrawal) -> None:
        """Record what became of a withdrawal."""
        self._connection.execute("UPDATE consent SET withdrawal = ? WHERE id = ?", (outcome, consent_id))

    def _read(self, condition: str, *values: str) -> list[QueuedConsent]:
        query = f"SELECT {_COLUMNS} FROM consent WHERE {condition} ORDER BY rowid"  # noqa: S608 (our own conditions)
        return [
            QueuedConsent(SentConsent.model_validate_json(document), bool(uploaded), refusal, withdrawal)
            for document, uploaded, refusal, withdrawal in self._connection.execute(query, values)
        ]
