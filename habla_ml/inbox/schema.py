"""The tables of the service's database. A digest is a sha256 in hex; a time is UTC.

A column is only ever added, with a default, and `SCHEMA_VERSION` rises with it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

SCHEMA_VERSION: Final = 1


class UtcTime(TypeDecorator[datetime]):
    """An aware time, stored in UTC; SQLite itself keeps no zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse a naive time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; pass an aware time")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return an aware time."""
        return None if value is None else value.replace(tzinfo=UTC)


METADATA: Final = MetaData()


def _partial_index(name: str, column: str, condition: str) -> Index:
    """Return an index of the rows that meet a condition: what it finds costs what it finds, whatever was read before."""
    return Index(name, column, sqlite_where=text(condition), postgresql_where=text(condition))


SCHEMA_STATE: Final = Table("schema_state", METADATA, Column("version", Integer, primary_key=True))

ENROLMENT_CODES: Final = Table(
    "enrolment_codes",
    METADATA,
    Column("code_digest", String(64), primary_key=True),
    Column("label", String(100), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("used_at", UtcTime),
)

DEVICES: Final = Table(
    "devices",
    METADATA,
    Column("device_id", String(36), primary_key=True),
    Column("label", String(100), nullable=False),
    Column("token_digest", String(64), nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("last_seen_at", UtcTime),
)

CONSENTS: Final = Table(
    "consents",
    METADATA,
    Column("consent_id", String(36), primary_key=True),
    Column("contributor", String(100), nullable=False),
    Column("contributor_key", String(100), nullable=False),
    Column("document", String(50), nullable=False),
    Column("document_version", Integer, nullable=False),
    Column("document_digest", String(64), nullable=False),
    Column("minor", Boolean, nullable=False),
    Column("guardian", Boolean, nullable=False),
    Column("given_at", UtcTime, nullable=False),
    Column("withdrawn_at", UtcTime),
    Column("erased_at", UtcTime),
    Column("device_id", String(36)),
    Column("account_id", String(36)),
    Index("consents_by_contributor", "contributor_key"),
    _partial_index("consents_to_erase", "contributor_key", "withdrawn_at IS NOT NULL AND erased_at IS NULL"),
)
"""`contributor` is a pseudonym and `contributor_key` its canonical form; `guardian` is that a guardian consented too."""

CONSENT_TEXTS: Final = Table(
    "consent_texts",
    METADATA,
    Column("document", String(50), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("language", String(5), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("text", Text, nullable=False),
)
"""The texts that people consented to, as they were shown."""

CONSENT_REVISION: Final = Table(
    "consent_revision",
    METADATA,
    Column("only_row", Integer, primary_key=True),
    Column("revision", Integer, nullable=False),
)
"""One row: the number of changes of consents, so that a reader sees with one number whether anything changed."""

CLIPS: Final = Table(
    "clips",
    METADATA,
    Column("clip_id", String(36), primary_key=True),
    Column("file_key", String(100), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("device_id", String(36), nullable=False),
    Column("contributor", String(100)),
    Column("contributor_key", String(100)),
    Column("session", String(100), nullable=False),
    Column("recorded_at", UtcTime),
    Column("received_at", UtcTime, nullable=False),
    Column("hour", String(13), nullable=False),
    Column("segment_id", String(36)),
    Column("day", String(10)),
    Column("set_aside", Text),
    Column("awaited_consents", String(100)),
    Column("erased_at", UtcTime),
    Index("clips_by_hour", "hour"),
    Index("clips_by_contributor", "contributor_key"),
    _partial_index("clips_by_segment", "segment_id", "segment_id IS NOT NULL"),
    _partial_index("clips_by_day", "day", "day IS NOT NULL"),
    _partial_index("clips_unread", "hour", "segment_id IS NULL AND set_aside IS NULL AND erased_at IS NULL"),
    _partial_index("clips_set_aside", "hour", "set_aside IS NOT NULL AND erased_at IS NULL"),
)
"""`clip_id` is derived from the device and the id that it sent (`clips.derive_clip_id`), `file_key` the key of its file in
the store. `hour` is the UTC hour of receipt, `2026-11-29T06`. `segment_id` and `day` are set when the pipeline has the clip,
`set_aside` is why it cannot use it, and `awaited_consents` the signature of the consents under which it waits for one."""

DATA_POINTS: Final = Table(
    "data_points",
    METADATA,
    Column("device_id", String(36), primary_key=True),
    Column("data_point_id", String(36), primary_key=True),
    Column("clip_id", String(36), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("text", Text, nullable=False),
    Column("status", String(20), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("corrected_at", UtcTime, nullable=False),
    Column("language", String(20), nullable=False),
    Column("app_version", String(50), nullable=False),
    Column("model_version", String(50), nullable=False),
    Column("seen_text", Text),
    Column("received_at", UtcTime, nullable=False),
    Column("hour", String(13), nullable=False),
    Column("collected_at", UtcTime),
    Column("set_aside", Text),
    Column("awaited_consents", String(100)),
    Index("data_points_by_hour", "hour"),
    Index("data_points_by_clip", "clip_id"),
    _partial_index("data_points_set_aside", "hour", "set_aside IS NOT NULL"),
    _partial_index("data_points_unread", "clip_id", "collected_at IS NULL AND set_aside IS NULL"),
)
"""`collected_at` is set when the log of annotations has it, or it is `set_aside` with this reason."""

ACCOUNTS: Final = Table(
    "accounts",
    METADATA,
    Column("account_id", String(36), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("name_key", String(100), nullable=False, unique=True),
    Column("password_hash", String(200), nullable=False),
    Column("rights", JSON, nullable=False),
    Column("language", String(5), nullable=False),
    Column("session_number", Integer, nullable=False, default=0),
    Column("created_at", UtcTime, nullable=False),
    Column("disabled_at", UtcTime),
)
"""A session is valid while it has the account's `session_number`, so that one change ends all sessions."""

INVITATIONS: Final = Table(
    "invitations",
    METADATA,
    Column("code_digest", String(64), primary_key=True),
    Column("rights", JSON, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("used_at", UtcTime),
    Column("account_id", String(36), ForeignKey("accounts.account_id")),
)

ANSWERS: Final = Table(
    "answers",
    METADATA,
    Column("answer_id", String(36), primary_key=True),
    Column("segment_id", String(36), nullable=False),
    Column("session_id", String(300), nullable=False),
    Column("day", String(10), nullable=False),
    Column("text", Text, nullable=False),
    Column("status", String(20), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("speaker", String(100), nullable=False),
    Column("person", String(100), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("seen_text", Text),
    Column("model_version", String(50), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("is_blind", Boolean, nullable=False),
    Column("collected_at", UtcTime),
    Column("awaited_consents", String(100)),
    Index("answers_by_segment", "segment_id"),
    Index("answers_by_day", "day"),
    _partial_index("answers_unread", "day", "collected_at IS NULL"),
)
"""The answers on the page; the browser makes the `answer_id`, so that a repeated request is one answer."""

HAND_OUTS: Final = Table(
    "hand_outs",
    METADATA,
    Column("hand_out_id", String(36), primary_key=True),
    Column("person_key", String(100), nullable=False),
    Column("segment_id", String(36), nullable=False),
    Column("session_id", String(300), nullable=False),
    Column("day", String(10), nullable=False),
    Column("seen_text", Text),
    Column("model_version", String(50), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("is_blind", Boolean, nullable=False),
    Column("handed_out_at", UtcTime, nullable=False),
    Index("hand_outs_by_segment", "segment_id"),
    Index("hand_outs_by_person", "person_key", "segment_id"),
    Index("hand_outs_by_time", "handed_out_at"),
)
"""The clips that the page gave to a person, with the text that it showed; a blind segment has none."""
