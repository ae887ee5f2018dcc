"""Consents in the service's database, as people give them."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from habla_ml.inbox.consents import NewConsent, RecordedConsent, record_consent
from habla_ml.inbox.database import Database

GIVEN_AT = datetime(2026, 2, 1, 9, 0, tzinfo=UTC)


def give_consent(database: Database, contributor: str, **fields: Any) -> RecordedConsent:
    """Record a consent of an adult, with other fields where they are named."""
    values = {"document_version": 1, "minor": False, "guardian": False, "given_at": GIVEN_AT, **fields}
    consent = NewConsent(str(uuid4()), contributor, "voice", document_digest="0" * 64, **values)
    return database.change(lambda connection: record_consent(connection, consent))
