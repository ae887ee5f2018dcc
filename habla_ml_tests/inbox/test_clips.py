"""Clips are kept once, durably, and nothing of a refused one stays: real files and a real database."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, select

from habla_ml.errors import LakeError
from habla_ml.inbox.clip_files import CLIP_PREFIX, make_clip_key
from habla_ml.inbox.clips import (
    ClipConflictError,
    ClipErasedError,
    ClipReceiver,
    ConsentMissingError,
    NewClip,
    derive_clip_id,
    sweep_clip_files,
)
from habla_ml.inbox.consents import withdraw_consents
from habla_ml.inbox.erased_clips import erase_clips
from habla_ml.inbox.schema import CLIPS
from habla_ml.inbox.unread_clips import read_unread_clips
from habla_ml.settings.data import ConsentSettings
from habla_ml_tests.testing.received_clips import PHONE, Inbox, make_inbox
from habla_ml_tests.testing.received_consents import give_consent

NOW = datetime(2026, 11, 29, 9, 30, tzinfo=UTC)
TABLET = str(UUID(int=7))
OPTIONAL = ConsentSettings(required=False)
REQUIRED = ConsentSettings()


def make_clip(number: int = 1, data: bytes = b"one", **fields: object) -> NewClip:
    sha256 = hashlib.sha256(data).hexdigest()
    clip = NewClip(str(UUID(int=number)), sha256, PHONE, "c-1", "3A lengua", NOW, NOW)
    return replace(clip, **fields)  # type: ignore[arg-type]


@pytest.fixture
def inbox(tmp_path: Path, service_section: dict[str, str]) -> Inbox:
    return make_inbox(tmp_path, service=service_section)


def receive(
    inbox: Inbox, number: int = 1, data: bytes = b"one", consent: ConsentSettings = OPTIONAL, **fields: object
) -> bool:
    path = inbox.workspace.root / f"body-{uuid4()}"
    path.write_bytes(data)
    return ClipReceiver(inbox.database, inbox.store, consent).receive(make_clip(number, data, **fields), path)


def list_files(inbox: Inbox) -> list[bytes]:
    return sorted(inbox.store.read(each.key) for each in inbox.store.list(CLIP_PREFIX))


def test_the_same_bytes_again_are_one_clip_and_one_file(inbox: Inbox) -> None:
    assert [receive(inbox), receive(inbox)] == [True, False]
    assert list_files(inbox) == [b"one"]
    (kept,) = read_unread_clips(inbox.database, "2026-11-29T09")
    assert inbox.store.read(kept.file_key) == b"one"
    assert (kept.device_id, kept.contributor, kept.session, kept.recorded_at) == (PHONE, "c-1", "3A lengua", NOW)


def test_other_bytes_under_the_same_id_are_refused_and_leave_nothing(inbox: Inbox) -> None:
    receive(inbox)
    with pytest.raises(ClipConflictError, match="under a new id"):
        receive(inbox, data=b"two")
    assert list_files(inbox) == [b"one"]


def test_two_devices_with_the_same_id_do_not_learn_of_each_other(inbox: Inbox) -> None:
    assert receive(inbox)
    assert receive(inbox, data=b"two", device_id=TABLET)
    assert derive_clip_id(PHONE, str(UUID(int=1))) != derive_clip_id(TABLET, str(UUID(int=1)))
    assert list_files(inbox) == [b"one", b"two"]


def test_without_a_standing_consent_nothing_is_stored(inbox: Inbox) -> None:
    for contributor in ("c-1", None):
        with pytest.raises(ConsentMissingError):
            receive(inbox, consent=REQUIRED, contributor=contributor)
    assert list_files(inbox) == []
    give_consent(inbox.database, "C-1")
    assert receive(inbox, consent=REQUIRED)
    with inbox.database.write() as connection:
        withdraw_consents(connection, "c-1", NOW)
    with pytest.raises(ConsentMissingError):
        receive(inbox, 2, consent=REQUIRED)
    assert list_files(inbox) == [b"one"]


def test_an_erased_clip_does_not_come_back(inbox: Inbox) -> None:
    receive(inbox)
    erase_clips(inbox.database, inbox.store, [make_clip().clip_id], NOW)
    with pytest.raises(ClipErasedError):
        receive(inbox)
    assert list_files(inbox) == []


@pytest.mark.parametrize("workers", [1, 4])
def test_requests_at_the_same_time_have_one_winner_and_hinder_no_other(inbox: Inbox, workers: int) -> None:
    receivers = [ClipReceiver(inbox.database, inbox.store, OPTIONAL) for _ in range(workers)]

    def send(number: int) -> tuple[int, bool]:
        data = b"one" if number % 2 else b"two"
        path = inbox.workspace.root / f"body-{number}"
        path.write_bytes(data)
        try:
            return number % 5, receivers[number % workers].receive(make_clip(number % 5, data), path)
        except ClipConflictError:
            return number % 5, False

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(send, range(100)))
    assert sorted(number for number, is_new in outcomes if is_new) == [0, 1, 2, 3, 4]
    kept = read_unread_clips(inbox.database, "2026-11-29T09")
    assert {inbox.store.read(each.file_key) for each in kept} <= {b"one", b"two"}
    assert len(kept) == len(list_files(inbox)) == 5


def test_a_file_whose_row_was_never_written_is_swept_once_it_is_old(inbox: Inbox) -> None:
    receive(inbox)
    inbox.store.put_if_absent(make_clip_key(make_clip(2).clip_id), b"two")
    inbox.store.put_if_absent(make_clip_key(make_clip(1).clip_id), b"one")
    assert len(list_files(inbox)) == 3
    now = datetime.now(UTC)
    assert sweep_clip_files(inbox.database, inbox.store, now - timedelta(hours=1)) == 0
    assert sweep_clip_files(inbox.database, inbox.store, now + timedelta(hours=1)) == 2
    assert list_files(inbox) == [b"one"]
    (kept,) = read_unread_clips(inbox.database, "2026-11-29T09")
    assert inbox.store.read(kept.file_key) == b"one"


def test_files_of_erased_clips_that_a_copy_of_the_disk_brought_back_are_swept(inbox: Inbox) -> None:
    for number in range(12):
        receive(inbox, number, b"voz %d" % number)
    ids = {make_clip(number).clip_id for number in range(1, 12)}
    with inbox.database.read() as connection:
        found = connection.execute(select(CLIPS.c.clip_id, CLIPS.c.file_key)).all()
    erase_clips(inbox.database, inbox.store, ids, datetime.now(UTC))
    for row in found:
        inbox.store.put_if_absent(row.file_key, b"voz")
    assert sweep_clip_files(inbox.database, inbox.store, datetime.now(UTC) + timedelta(hours=1)) == 11
    assert list_files(inbox) == [b"voz 0"]


def test_files_of_another_database_are_not_swept(inbox: Inbox) -> None:
    for number in range(12):
        receive(inbox, number, b"voz %d" % number)
    with inbox.database.write() as connection:
        connection.execute(delete(CLIPS).where(CLIPS.c.clip_id != make_clip(1).clip_id))
    later = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(LakeError, match=r"11 of 12 clips in .* have no row in the service's database"):
        sweep_clip_files(inbox.database, inbox.store, later)
    assert len(list_files(inbox)) == 12
    for number in range(20, 30):
        receive(inbox, number, b"otra %d" % number)
    assert sweep_clip_files(inbox.database, inbox.store, later) == 11  # as many have a row now
