"""A withdrawal in the service reaches what was received, whether or not it is in the lake yet."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select, update

from habla_ml.consent.admission import load_consents
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.erasure.contributor_data import find_withdrawn_days
from habla_ml.erasure.erase import ErasureReport, erase, erase_withdrawn, plan_erasure
from habla_ml.errors import InputUnavailableError
from habla_ml.inbox.clip_files import CLIP_PREFIX, get_clip_id
from habla_ml.inbox.consents import find_standing_consent, list_awaiting_erasure, withdraw_consents
from habla_ml.inbox.schema import DATA_POINTS, METADATA
from habla_ml.recordings.upload_names import get_upload_session_id
from habla_ml_tests.testing.database_files import read_database_files
from habla_ml_tests.testing.habla_sessions import NOW, ingest_into, set_age, write_session
from habla_ml_tests.testing.received_clips import DAY, PHONE, Inbox, make_clip_id, make_inbox
from habla_ml_tests.testing.received_consents import give_consent

LATER = NOW + timedelta(hours=1)
SESSION = "11111_20260302_090000"


@pytest.fixture
def inbox(tmp_path: Path, service_section: dict[str, str]) -> Inbox:
    return make_inbox(tmp_path, service=service_section)


def erase_contributor(inbox: Inbox, name: str) -> ErasureReport:
    settings, lake = inbox.workspace.settings, inbox.workspace.lake
    contributor = load_consents(settings, LATER).register.find(name)
    assert contributor is not None
    return erase(lake, plan_erasure(lake, contributor, settings, LATER), settings, LATER)


def list_files(inbox: Inbox) -> list[str]:
    return [get_clip_id(each.key) for each in inbox.store.list(CLIP_PREFIX)]


def read_database(inbox: Inbox) -> bytes:
    """Return all bytes of SQLite's files, or all rows of PostgreSQL, whose files keep the bytes of deleted rows for a while."""
    if inbox.database.engine.dialect.name == "sqlite":
        return read_database_files(inbox.database)
    with inbox.database.read() as connection:
        rows = [str(connection.execute(select(table)).all()) for table in METADATA.sorted_tables]
    return "".join(rows).encode()


def test_clips_that_are_read_unread_or_waiting_are_erased_with_their_texts(inbox: Inbox) -> None:
    give_consent(inbox.database, "c-1")
    give_consent(inbox.database, "c-2")
    read, kept = inbox.receive(1), inbox.receive(2, contributor="c-2")
    inbox.ingest()
    unread = inbox.receive(3, contributor=" C-1", session="Marta García")
    for number, clip in enumerate((1, 2, 3)):
        inbox.add_data_point(number, clip, f"El secreto {clip}.")
    with inbox.database.write() as connection:
        withdraw_consents(connection, "c-1", LATER)
    report = erase_contributor(inbox, "c-1")
    assert (report.received_clips, report.segments) == (2, 1)
    assert list_files(inbox) == [kept]
    assert inbox.read_clip(read)["erased_at"] == inbox.read_clip(unread)["erased_at"] == LATER
    assert [each["speaker"] for each in inbox.read_segments()] == ["c-2"]
    stored = read_database(inbox)
    assert [each for each in ("El secreto 1", "El secreto 3", "Marta") if each.encode() in stored] == []
    assert b"El secreto 2" in stored
    with inbox.database.write() as connection:
        assert list_awaiting_erasure(connection) == []


@pytest.mark.long
def test_a_segment_whose_speaker_a_person_named_is_erased_whether_the_log_has_the_answer_or_not(inbox: Inbox) -> None:
    workspace = inbox.workspace
    set_age(write_session(workspace.recordings, SESSION, 3), 24)
    ingest_into(workspace, DAY)
    give_consent(inbox.database, "c-1")
    by_number = {each["number"]: each for each in inbox.read_segments()}
    inbox.add_answer(1, by_number[1], "El secreto.", speaker="C-1")
    inbox.add_answer(2, by_number[3], "Otra voz.", speaker="c-2")
    inbox.collect()
    inbox.add_answer(3, by_number[2], "Otro secreto.", speaker="c-1")
    with inbox.database.write() as connection:
        withdraw_consents(connection, "c-1", LATER)
    register = load_consents(workspace.settings, LATER).register
    assert find_withdrawn_days(workspace.lake, register, LATER.date()) == {"c-1": (DAY,)}
    assert erase_contributor(inbox, "c-1").segments == 2
    assert [each["number"] for each in inbox.read_segments()] == [3]
    assert [each.text for each in inbox.collect()] == ["Otra voz."]
    assert b"secreto" not in read_database(inbox)


def test_a_deployment_without_habla_erases_who_withdraws(inbox: Inbox) -> None:
    inbox.workspace.recordings.rmdir()
    give_consent(inbox.database, "c-1")
    inbox.receive(1)
    inbox.ingest()
    with inbox.database.write() as connection:
        withdraw_consents(connection, "c-1", LATER)
    workspace = inbox.workspace
    count, report = erase_withdrawn(workspace.lake, workspace.settings, LATER)
    assert (count, report.segments if report else 0, list_files(inbox)) == (1, 1, [])
    assert inbox.read_segments() == []


def test_an_erasure_waits_for_the_folder_of_habla_whose_sessions_the_lake_has(inbox: Inbox) -> None:
    workspace = inbox.workspace
    set_age(write_session(workspace.recordings, SESSION, 1), 24)
    ingest_into(workspace, DAY)
    workspace.recordings.rename(workspace.root / "unmounted")
    give_consent(inbox.database, "c-1")
    with inbox.database.write() as connection:
        withdraw_consents(connection, "c-1", LATER)
    with pytest.raises(InputUnavailableError, match="cannot be listed"):
        erase_withdrawn(workspace.lake, workspace.settings, LATER)
    (workspace.root / "unmounted").rename(workspace.recordings)
    assert erase_withdrawn(workspace.lake, workspace.settings, LATER)[0] == 1


@pytest.mark.parametrize("name", ["parquet", "inputs"])
def test_a_pseudonym_that_is_a_word_of_the_lake_damages_nothing(inbox: Inbox, name: str) -> None:
    give_consent(inbox.database, name)
    inbox.receive(1, contributor=name)
    inbox.receive(2, contributor="c-2")
    inbox.ingest()
    inbox.add_data_point(2, clip=2, text="Hola.")
    events = inbox.collect()
    assert erase_contributor(inbox, name).segments == 1
    assert [each["speaker"] for each in inbox.read_segments()] == ["c-2"]
    assert inbox.collect() == events


def test_an_erasure_on_command_withdraws_the_consent_so_that_nothing_new_is_stored(inbox: Inbox) -> None:
    give_consent(inbox.database, "c-1")
    inbox.receive(1)
    erase_contributor(inbox, "C-1")
    with inbox.database.write() as connection:
        assert find_standing_consent(connection, "c-1") is None
    assert erase_contributor(inbox, "c-1").received_clips == 0


def test_an_erasure_on_command_reaches_what_came_while_a_person_read_the_plan(inbox: Inbox) -> None:
    give_consent(inbox.database, "c-1")
    inbox.receive(1)
    inbox.ingest()
    settings, lake = inbox.workspace.settings, inbox.workspace.lake
    contributor = load_consents(settings, LATER).register.find("c-1")
    assert contributor is not None
    plan = plan_erasure(lake, contributor, settings, LATER)
    inbox.receive(2)
    inbox.ingest()
    report = erase(lake, plan, settings, LATER)
    assert (report.received_clips, report.segments) == (2, 2)
    assert inbox.read_segments() == []


def test_the_id_of_an_unread_clip_gets_a_tombstone_as_a_run_may_be_reading_it(inbox: Inbox) -> None:
    give_consent(inbox.database, "c-1")
    inbox.receive(1)
    erase_contributor(inbox, "c-1")
    assert len(read_tombstones(inbox.workspace.lake).segments) == 1


@pytest.mark.parametrize(
    "claim",
    [
        {"sessions": [get_upload_session_id(PHONE, "3A lengua")]},
        {"speakers": [{"label": "C-1"}]},
        {"speakers": [{"label": "c-1", "sessions": ["upload-*"]}]},
    ],
)
def test_a_claim_of_the_registers_file_on_uploads_is_erased_too(tmp_path: Path, claim: dict[str, Any]) -> None:
    registry = tmp_path / "consents.yaml"
    entry = {"contributor": "p-9", "given": "2026-01-01", "withdrawn": "2026-05-01", **claim}
    registry.write_text(yaml.safe_dump({"contributors": [entry]}), "utf-8")
    inbox = make_inbox(tmp_path / "here", consent={"registry": str(registry)})
    inbox.receive(1)
    kept = inbox.receive(2, contributor="c-2", session="otra")
    assert erase_contributor(inbox, "p-9").received_clips == 1
    assert list_files(inbox) == [kept]


@pytest.mark.long
def test_no_page_of_the_database_keeps_a_copy_of_a_text_that_has_moved(tmp_path: Path) -> None:
    """SQLite overwrites a deleted row, but not the copies that it left where the row had been before."""
    inbox = make_inbox(tmp_path)
    give_consent(inbox.database, "c-1")
    for number in range(2):
        inbox.receive(number, contributor=f"c-{number}")
    for number in range(600):
        inbox.add_data_point(number, number % 2, f"Secreto {number % 2}-{number:04}. " + "x" * (number % 190))
    for start in (0, 4):
        with inbox.database.write() as connection:
            ids = [make_clip_id(1_000 + number) for number in range(start, 600, 6)]
            grown = {"set_aside": "un motivo largo " * 20}
            connection.execute(update(DATA_POINTS).where(DATA_POINTS.c.data_point_id.in_(ids)).values(grown))
    erase_contributor(inbox, "c-1")
    stored = read_database(inbox)
    assert b"Secreto 1-" not in stored
    assert stored.count(b"Secreto 0-") == 300
