"""Find and erase what the service received from a contributor, and the consents that it recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from habla_ml.consent.admission import load_consents
from habla_ml.consent.register import Contributor
from habla_ml.erasure.contributor_data import NamedSegment
from habla_ml.inbox.clip_files import open_clip_store
from habla_ml.inbox.consents import list_awaiting_erasure, mark_erased, withdraw_consents
from habla_ml.inbox.database import Database, open_existing_database
from habla_ml.inbox.erased_clips import erase_clips
from habla_ml.inbox.held_clips import (
    HeldClip,
    find_clips_of_contributors,
    find_clips_of_segments,
    find_clips_of_session,
    list_clip_sessions,
)
from habla_ml.inbox.unread_texts import list_unread_speakers
from habla_ml.names import canonical_name
from habla_ml.recordings.segments import segment_id
from habla_ml.recordings.upload_names import UPLOAD_SOURCE, get_upload_session_id
from habla_ml.settings import Settings


@dataclass(frozen=True)
class AttributedClip:
    """A clip that the service holds, and the segment that it has become or would become."""

    held: HeldClip
    session_id: str
    segment_id: str


def find_received_clips(
    settings: Settings, contributor: Contributor, segment_ids: Collection[str]
) -> list[AttributedClip]:
    """Return the clips that the register attributes to a contributor, and those that have become these segments."""
    with open_existing_database(settings) as database:
        return [] if database is None else _find_clips(database, contributor, segment_ids)


def read_unread_answers(settings: Settings) -> list[NamedSegment]:
    """Return the answers on the page that name a speaker and are not in the log of annotations yet."""
    with open_existing_database(settings) as database:
        found = [] if database is None else list_unread_speakers(database)
    return [NamedSegment(*each) for each in found]


def find_withdrawn_contributors(settings: Settings, now: datetime) -> list[Contributor]:
    """Return the entries of those who withdrew in the service and are not erased yet; raises `load_consents`' errors."""
    with open_existing_database(settings) as database:
        if database is None:
            return []
        with database.read() as connection:
            names = list_awaiting_erasure(connection)
    register = load_consents(settings, now).register
    return [each for each in map(register.find, names) if each is not None]


def withdraw(settings: Settings, contributors: Iterable[Contributor], now: datetime) -> None:
    """Withdraw the contributors' consents in the service, so that it takes nothing more from now on."""
    with open_existing_database(settings) as database:
        if database is None:
            return
        for each in contributors:
            with database.write() as connection:
                withdraw_consents(connection, each.contributor, now)


def erase_received_clips(
    settings: Settings, contributors: Iterable[Contributor], segment_ids: Collection[str], now: datetime
) -> int:
    """Erase the contributors' clips and those of erased segments, with the texts on them; return how many."""
    with open_existing_database(settings) as database:
        if database is None:
            return 0
        found = (clip for each in contributors for clip in _find_clips(database, each, segment_ids))
        return erase_clips(database, open_clip_store(settings), {each.held.clip_id for each in found}, now)


def purge_database(settings: Settings) -> None:
    """Remove what deleted rows left in the database's files.

    Always, because an interrupted erasure can have left rows that are deleted but not overwritten.
    """
    with open_existing_database(settings) as database:
        if database is not None:
            database.purge_deleted()


def finish_withdrawals(settings: Settings, contributors: Iterable[Contributor], now: datetime) -> None:
    """Note in the service that everything of the contributors is erased."""
    with open_existing_database(settings) as database:
        if database is None:
            return
        for each in contributors:
            with database.write() as connection:
                mark_erased(connection, each.contributor, now)


def _find_clips(database: Database, contributor: Contributor, segment_ids: Collection[str]) -> list[AttributedClip]:
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


def _describe(clip: HeldClip) -> AttributedClip:
    session_id = get_upload_session_id(clip.device_id, clip.session)
    return AttributedClip(clip, session_id, segment_id(UPLOAD_SOURCE, session_id, clip.clip_id))
