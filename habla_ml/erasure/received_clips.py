"""Find and erase what the service received from a contributor, and the consents that it recorded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from habla_ml.consent.register import Contributor
from habla_ml.inbox.clip_files import open_clip_store
from habla_ml.inbox.consents import mark_erased, withdraw_consents
from habla_ml.inbox.database import Database, open_existing_database
from habla_ml.inbox.erased_clips import erase_clips
from habla_ml.inbox.held_clips import (
    HeldClip,
    find_clips_of_contributors,
    find_clips_of_segments,
    find_clips_of_session,
    list_clip_sessions,
)
from habla_ml.names import canonical_name
from habla_ml.recordings.segments import segment_id
from habla_ml.recordings.upload_names import UPLOAD_SOURCE, get_upload_session_id
from habla_ml.settings import Settings


@dataclass(frozen=True)
class ReceivedClip:
    """A clip that the service holds, and the segment that it has become or would become."""

    held: HeldClip
    session_id: str
    segment_id: str


def find_received_clips(
    settings: Settings, contributor: Contributor, segment_ids: Collection[str]
) -> list[ReceivedClip]:
    """Return the clips that the register attributes to a contributor, and those that have become these segments."""
    with open_existing_database(settings) as database:
        return [] if database is None else _find_clips(database, contributor, segment_ids)


def withdraw(settings: Settings, contributor: Contributor, now: datetime) -> None:
    """Withdraw the contributor's consents in the service, so that it takes nothing more from now on."""
    with open_existing_database(settings) as database:
        if database is not None:
            with database.write() as connection:
                withdraw_consents(connection, contributor.contributor, now)


def erase_received_clips(
    settings: Settings, contributor: Contributor, segment_ids: Collection[str], now: datetime
) -> int:
    """Erase the contributor's clips and those of erased segments, with the texts on them; return how many."""
    with open_existing_database(settings) as database:
        if database is None:
            return 0
        clips = [each.held.clip_id for each in _find_clips(database, contributor, segment_ids)]
        erased = erase_clips(database, open_clip_store(settings), clips, now)
        # Not only if there were clips: an interrupted erasure leaves rows that are deleted but not overwritten.
        database.purge_deleted()
        return erased


def finish_withdrawal(settings: Settings, contributor: Contributor, now: datetime) -> None:
    """Note in the service that everything of the contributor is erased."""
    with open_existing_database(settings) as database:
        if database is not None:
            with database.write() as connection:
                mark_erased(connection, contributor.contributor, now)


def _find_clips(database: Database, contributor: Contributor, segment_ids: Collection[str]) -> list[ReceivedClip]:
    labels = (contributor.contributor, *(each.label for each in contributor.speakers))
    found = find_clips_of_contributors(database, {canonical_name(each) for each in labels})
    if contributor.sessions:
        for device_id, session in list_clip_sessions(database):
            if contributor.covers(get_upload_session_id(device_id, session), None, ""):
                found += find_clips_of_session(database, device_id, session)
    covered = (
        each
        for each in map(_describe, found)
        if contributor.covers(each.session_id, each.held.contributor, each.segment_id)
    )
    by_segment = map(_describe, find_clips_of_segments(database, {*segment_ids, *contributor.segments}))
    return list({each.held.clip_id: each for each in (*covered, *by_segment)}.values())


def _describe(clip: HeldClip) -> ReceivedClip:
    session_id = get_upload_session_id(clip.device_id, clip.session)
    return ReceivedClip(clip, session_id, segment_id(UPLOAD_SOURCE, session_id, clip.clip_id))
