"""What the service received after a backup comes into the restored lake, although the inbox has it as read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from habla_ml.annotation.restored_inbox import requeue_lost_inputs
from habla_ml.annotation.sources import page, uploads
from habla_ml.backup.create import BackupRequest, create_backup
from habla_ml.backup.restore import RestoreRequest, restore_backup
from habla_ml.erasure.erase import erase_withdrawn
from habla_ml.inbox.consents import withdraw_consents
from habla_ml.inbox.erased_clips import erase_clips
from habla_ml.inbox.unread_clips import find_unread_hours
from habla_ml.lake import DirectoryStore, Lake, catalogue
from habla_ml_tests.testing.habla_sessions import NOW
from habla_ml_tests.testing.received_clips import DAY, HOUR, RECEIVED, Inbox, make_inbox
from habla_ml_tests.testing.received_consents import give_consent


@pytest.fixture
def restored(tmp_path: Path) -> Iterator[tuple[Inbox, Lake]]:
    """An inbox with a clip from before the backup and two from after it, on the restored lake, and the lake that was lost."""
    inbox = make_inbox(tmp_path)
    workspace, settings = inbox.workspace, inbox.workspace.settings
    inbox.receive(1)
    inbox.ingest()
    inbox.add_data_point(1, clip=1, text="Antes de la copia.")
    inbox.collect()
    backups = DirectoryStore(tmp_path / "backups")
    source = DirectoryStore(Path(workspace.lake.url))
    create_backup(BackupRequest(workspace.lake, source, backups, settings.work_folder, {}), NOW)
    inbox.receive(2)
    inbox.receive(3, recorded_at=RECEIVED - timedelta(days=3))
    inbox.ingest()
    for number in (2, 3):
        inbox.add_data_point(number, clip=number, text=f"Después, {number}.")
    inbox.add_answer(4, inbox.read_segments()[0], "En la página.")
    for day in (DAY, "2026-02-27"):
        inbox.collect(day)
    store = DirectoryStore(tmp_path / "restored")
    lake = Lake(store, tmp_path / "restored_cache")
    restore_backup(RestoreRequest(backups, None, lake, store, settings), NOW)
    yield replace(inbox, workspace=replace(workspace, lake=lake)), workspace.lake
    inbox.database.close()


def read_ids(inbox: Inbox) -> dict[str, list[str]]:
    return {day: sorted(each["segment_id"] for each in inbox.read_segments(day)) for day in (DAY, "2026-02-27")}


def test_clips_and_texts_from_after_the_backup_are_read_again(restored: tuple[Inbox, Lake]) -> None:
    inbox, lost = restored
    before = replace(inbox, workspace=replace(inbox.workspace, lake=lost))
    assert len(read_ids(inbox)[DAY]) == 1
    done = requeue_lost_inputs(inbox.workspace.lake, inbox.database)
    assert "2 clips and 4 texts are read again" in done
    assert [(each.hour, each.clips) for each in find_unread_hours(inbox.database)] == [(HOUR, 2)]
    assert inbox.ingest().segments == 2
    assert read_ids(inbox) == read_ids(before)
    for source in (uploads.SOURCE, page.SOURCE):
        assert inbox.find_days(source)[DAY]
    for day in (DAY, "2026-02-27"):
        assert inbox.collect(day) == before.collect(day)
    assert {each.text for each in inbox.collect()} == {"Antes de la copia.", "Después, 2.", "En la página."}


def test_they_are_compared_once(restored: tuple[Inbox, Lake]) -> None:
    inbox, lost = restored
    assert requeue_lost_inputs(lost, inbox.database) == ""  # a drill changes nothing of the lake that is in use
    assert find_unread_hours(inbox.database) == []
    requeue_lost_inputs(inbox.workspace.lake, inbox.database)
    inbox.ingest()
    assert inbox.workspace.lake.read_pointer(catalogue.RESTORED) is None
    assert requeue_lost_inputs(inbox.workspace.lake, inbox.database) == ""
    assert find_unread_hours(inbox.database) == []


def test_a_lake_that_is_restored_twice_gets_all_texts_since_the_first_backup(
    restored: tuple[Inbox, Lake], tmp_path: Path
) -> None:
    inbox, _ = restored
    lake, settings, later = inbox.workspace.lake, inbox.workspace.settings, NOW + timedelta(days=9)
    backups = DirectoryStore(tmp_path / "more_backups")
    create_backup(BackupRequest(lake, DirectoryStore(Path(lake.url)), backups, settings.work_folder, {}), later)
    store = DirectoryStore(tmp_path / "restored_again")
    again = Lake(store, tmp_path / "restored_again_cache")
    restore_backup(RestoreRequest(backups, None, again, store, settings), later)
    assert "2 clips and 4 texts are read again" in requeue_lost_inputs(again, inbox.database)


def test_an_erased_clip_does_not_come_back(restored: tuple[Inbox, Lake]) -> None:
    inbox, _ = restored
    erase_clips(inbox.database, inbox.store, [next(each["file_name"] for each in inbox.read_segments())], NOW)
    requeue_lost_inputs(inbox.workspace.lake, inbox.database)
    assert [(each.hour, each.clips) for each in find_unread_hours(inbox.database)] == [(HOUR, 2)]


def test_a_voice_that_was_erased_after_the_last_backup_stays_out_although_the_person_consented_again(
    tmp_path: Path,
) -> None:
    inbox = make_inbox(tmp_path)
    workspace, settings = inbox.workspace, inbox.workspace.settings
    give_consent(inbox.database, "c-1")
    inbox.receive(1)
    inbox.receive(2, contributor="c-2")
    inbox.ingest()
    backups = DirectoryStore(tmp_path / "backups")
    source = DirectoryStore(Path(workspace.lake.url))
    create_backup(BackupRequest(workspace.lake, source, backups, settings.work_folder, {}), NOW)
    with inbox.database.write() as connection:
        withdraw_consents(connection, "c-1", NOW)
    erase_withdrawn(workspace.lake, settings, NOW)
    give_consent(inbox.database, "c-1", given_at=NOW + timedelta(days=1))
    store = DirectoryStore(tmp_path / "restored")
    lake = Lake(store, tmp_path / "restored_cache")
    report = restore_backup(RestoreRequest(backups, None, lake, store, settings), NOW + timedelta(days=2))
    assert report.is_erased_again
    restored = replace(inbox, workspace=replace(workspace, lake=lake))
    assert [each["speaker"] for each in restored.read_segments()] == ["c-2"]
