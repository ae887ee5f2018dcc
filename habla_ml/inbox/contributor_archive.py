"""What the service holds of a contributor: a summary, and everything as a ZIP archive that is made while it is read."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, Select, and_, func, select

from habla_ml.errors import ObjectMissingError
from habla_ml.inbox.consents import RecordedConsent
from habla_ml.inbox.database import Database
from habla_ml.inbox.schema import ANSWERS, CLIPS, DATA_POINTS
from habla_ml.lake import Store

_ROWS_PER_QUERY: Final = 200
_CLIP_FIELDS: Final = ("clip_id", "sha256", "size_bytes", "session", "recorded_at", "received_at", "segment_id", "day")
_TEXT_FIELDS: Final = ("clip_id", "text", "status", "reason", "corrected_at", "seen_text", "model_version")
_ANSWER_FIELDS: Final = ("segment_id", "text", "status", "reason", "created_at", "seen_text", "model_version")
_README: Final = (
    "clips/ tiene tus grabaciones como se enviaron; clips.jsonl las describe. corrections.jsonl y answers.jsonl tienen los "
    "textos sobre ellas, consents.json tus consentimientos.\n\n"
    "clips/ has your recordings as they were sent; clips.jsonl describes them. corrections.jsonl and answers.jsonl have "
    "the texts on them, consents.json your consents.\n"
)


@dataclass(frozen=True)
class ContributorSummary:
    """Counts of what the service holds of a contributor."""

    clips: int
    size_bytes: int
    corrections: int
    segment_ids: frozenset[str]
    """The segments in the lake that the clips have become."""


def summarise_contributor(database: Database, key: str) -> ContributorSummary:
    """Return the counts for a contributor, by the canonical form of the pseudonym."""
    held = _is_held(key)
    corrections = select(func.count()).select_from(DATA_POINTS.join(CLIPS, DATA_POINTS.c.clip_id == CLIPS.c.clip_id))
    with database.read() as connection:
        row = connection.execute(select(func.count(), func.sum(CLIPS.c.size_bytes)).where(held)).one()
        segments = connection.scalars(select(CLIPS.c.segment_id).where(held, CLIPS.c.segment_id.is_not(None)))
        ids = frozenset(segments)
        return ContributorSummary(row[0], int(row[1] or 0), connection.scalar(corrections.where(held)) or 0, ids)


def stream_archive(database: Database, store: Store, key: str, consents: Sequence[RecordedConsent]) -> Iterator[bytes]:
    """Yield the bytes of the archive; memory holds one clip and some rows at a time.

    Clips that are erased while the archive is made are left out.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        archive.writestr("README.txt", _README)
        archive.writestr("consents.json", json.dumps([asdict(each) for each in consents], default=_to_text, indent=1))
        for row in _read_clips(database, key):
            with suppress(ObjectMissingError):
                archive.writestr(f"clips/{row.clip_id}", store.read(row.file_key))
            yield sink.take()
        for name, rows, fields in (
            ("clips.jsonl", _read_clips(database, key), _CLIP_FIELDS),
            ("corrections.jsonl", _read_texts(database, key), _TEXT_FIELDS),
            ("answers.jsonl", _read_answers(database, key), _ANSWER_FIELDS),
        ):
            with archive.open(name, "w") as member:
                for row in rows:
                    line = {field: getattr(row, field) for field in fields}
                    member.write(json.dumps(line, ensure_ascii=False, default=_to_text).encode() + b"\n")
                    yield sink.take()
    yield sink.take()


class _Sink:
    """A file that is only written, and emptied by `take`; without `tell`, `zipfile` does not seek in it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep bytes until they are taken."""
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: `take` has everything that was written."""

    def take(self) -> bytes:
        """Return what was written since the last call."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def _is_held(key: str) -> Any:
    return and_(CLIPS.c.contributor_key == key, CLIPS.c.erased_at.is_(None))


def _read_clips(database: Database, key: str) -> Iterator[Row[Any]]:
    return _read_pages(database, select(CLIPS).where(_is_held(key)), CLIPS.c.clip_id)


def _read_texts(database: Database, key: str) -> Iterator[Row[Any]]:
    joined = DATA_POINTS.join(CLIPS, DATA_POINTS.c.clip_id == CLIPS.c.clip_id)
    query = select(DATA_POINTS).select_from(joined).where(_is_held(key))
    return _read_pages(database, query, DATA_POINTS.c.device_id + DATA_POINTS.c.data_point_id)


def _read_answers(database: Database, key: str) -> Iterator[Row[Any]]:
    joined = ANSWERS.join(CLIPS, ANSWERS.c.segment_id == CLIPS.c.segment_id)
    query = select(ANSWERS).select_from(joined).where(_is_held(key))
    return _read_pages(database, query, ANSWERS.c.answer_id)


def _read_pages(database: Database, query: Select[Any], column: Any) -> Iterator[Row[Any]]:
    """Yield the rows by a unique text, a page at a time: no transaction is open while a client reads slowly."""
    last, query = "", query.add_columns(column.label("page_key"))
    while True:
        with database.read() as connection:
            rows = connection.execute(query.where(column > last).order_by(column).limit(_ROWS_PER_QUERY)).all()
        yield from rows
        if len(rows) < _ROWS_PER_QUERY:
            return
        last = rows[-1].page_key


def _to_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
