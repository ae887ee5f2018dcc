"""Keep the data points that devices send: a person's text for a clip. `unread_texts` reads them for the pipeline.

A data point belongs to the device that sends it, and so does its clip. The same data point again is a duplicate; a newer
correction of the same clip is a new data point.

Where a consent is required, a data point is kept only once its clip is held, because only the clip names the contributor:
the device sends it again after the clip. Where none is required, it may come first, and waits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, insert, select

from habla_ml.inbox.clips import derive_clip_id, format_hour
from habla_ml.inbox.consents import find_missing_consents, hold_consents
from habla_ml.inbox.database import Database
from habla_ml.inbox.schema import CLIPS, DATA_POINTS
from habla_ml.settings.data import ConsentSettings


@dataclass(frozen=True)
class NewDataPoint:
    """A data point as a device sends it."""

    data_point_id: str
    """A UUID that the device chose."""
    sent_clip_id: str
    """The id under which the device sends the clip."""
    text: str
    status: str
    """`corrected`, `confirmed` or `unusable`."""
    reason: str
    """Why the clip is unusable."""
    corrected_at: datetime
    language: str
    app_version: str
    model_version: str
    seen_text: str | None
    """The text that the person saw; None if none was shown."""

    @property
    def digest(self) -> str:
        """sha256 of the content, equal for equal moments in any zone."""
        content = {**vars(self), "corrected_at": self.corrected_at.astimezone(UTC).isoformat()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class DataPointOutcome(StrEnum):
    """What became of a data point."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    """The device used the id for another content."""
    CLIP_MISSING = "clip_missing"
    """A consent is required, and the clip has not come yet."""
    CLIP_ERASED = "clip_erased"
    NO_CONSENT = "no_consent"


@dataclass(frozen=True)
class _KnownClip:
    contributor: str | None
    session: str
    is_erased: bool


def receive_data_points(
    database: Database,
    device_id: str,
    points: Sequence[NewDataPoint],
    now: datetime,
    consent: ConsentSettings,
    is_refused: Callable[[str, str | None, str], bool] = lambda *_: False,
) -> list[DataPointOutcome]:
    """Keep the data points of a device durably; return what became of each, in their order.

    Args:
        database: The service's.
        device_id: Who sends them.
        points: At most some hundreds.
        now: Time of receipt.
        consent: Whether a consent is required.
        is_refused: Whether the register's file refuses a clip, by its id, contributor and session; must be fast.

    Raises:
        LakeError: The database cannot be used; none of them is kept.
    """
    if not points:
        return []
    # Made before the transaction: other writers wait for its end.
    rows = [_build_row(device_id, each, now) for each in points]
    return database.change(lambda connection: _receive(connection, device_id, rows, consent, is_refused))


def _receive(
    connection: Connection,
    device_id: str,
    points: Sequence[dict[str, Any]],
    consent: ConsentSettings,
    is_refused: Callable[[str, str | None, str], bool],
) -> list[DataPointOutcome]:
    rows: list[dict[str, Any]] = []
    outcomes: list[DataPointOutcome] = []
    clips = _hold_clips(connection, {each["clip_id"] for each in points})
    contributors = {each.contributor for each in clips.values()}
    hold_consents(connection, contributors)
    without_consent = find_missing_consents(connection, contributors, consent)
    refused = {
        clip_id
        for clip_id, each in clips.items()
        if each.contributor in without_consent or is_refused(clip_id, each.contributor, each.session)
    }
    known = _read_digests(connection, device_id, {each["data_point_id"] for each in points})
    for point in points:
        first, clip = known.get(point["data_point_id"]), clips.get(point["clip_id"])
        outcome = _judge(first, point["digest"], clip, point["clip_id"] in refused, consent.required)
        outcomes.append(outcome)
        if outcome is DataPointOutcome.ACCEPTED:
            known[point["data_point_id"]] = point["digest"]
            rows.append(point)
    if rows:
        # In order, so that two equal requests at once do not wait for each other.
        connection.execute(insert(DATA_POINTS), sorted(rows, key=itemgetter("data_point_id")))
    return outcomes


def _judge(
    known: str | None,
    digest: str,
    clip: _KnownClip | None,
    is_refused: bool,
    is_consent_required: bool,
) -> DataPointOutcome:
    if known is not None:
        return DataPointOutcome.DUPLICATE if known == digest else DataPointOutcome.CONFLICT
    if clip is None:
        return DataPointOutcome.CLIP_MISSING if is_consent_required else DataPointOutcome.ACCEPTED
    if clip.is_erased:
        return DataPointOutcome.CLIP_ERASED
    return DataPointOutcome.NO_CONSENT if is_refused else DataPointOutcome.ACCEPTED


def _read_digests(connection: Connection, device_id: str, ids: set[str]) -> dict[str, str]:
    columns = DATA_POINTS.c
    query = select(columns.data_point_id, columns.digest)
    found = connection.execute(query.where(columns.device_id == device_id, columns.data_point_id.in_(ids)))
    return {row.data_point_id: row.digest for row in found}


def _hold_clips(connection: Connection, clip_ids: set[str]) -> dict[str, _KnownClip]:
    """Return the clips that are held; on PostgreSQL, none of them is erased until the transaction ends."""
    columns = (CLIPS.c.clip_id, CLIPS.c.contributor, CLIPS.c.session, CLIPS.c.erased_at)
    query = select(*columns).where(CLIPS.c.clip_id.in_(clip_ids)).order_by(CLIPS.c.clip_id)
    rows = connection.execute(query.with_for_update(read=True))
    return {row.clip_id: _KnownClip(row.contributor, row.session, row.erased_at is not None) for row in rows}


def _build_row(device_id: str, point: NewDataPoint, now: datetime) -> dict[str, Any]:
    columns = {name: value for name, value in vars(point).items() if name != "sent_clip_id"}
    clip_id = derive_clip_id(device_id, point.sent_clip_id)
    kept = {"device_id": device_id, "clip_id": clip_id, "digest": point.digest}
    return {**columns, **kept, "received_at": now, "hour": format_hour(now)}
