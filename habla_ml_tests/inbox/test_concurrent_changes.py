"""Requests at the same time, from workers that share nothing but the database: each gets the answer that it would get alone."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, func, select

from habla_ml.inbox.answers import Answer, save_answer
from habla_ml.inbox.clips import ClipReceiver, ConsentMissingError, NewClip
from habla_ml.inbox.consent_texts import ConsentText, keep_consent_text
from habla_ml.inbox.consents import NewConsent, read_revision, record_consent, withdraw_consents
from habla_ml.inbox.data_points import NewDataPoint, receive_data_points
from habla_ml.inbox.database import Database, open_database
from habla_ml.inbox.erased_clips import erase_clips
from habla_ml.inbox.schema import CLIPS, CONSENT_TEXTS, CONSENTS, DATA_POINTS
from habla_ml.settings import Settings
from habla_ml.settings.data import ConsentSettings
from habla_ml_tests.testing.deployment_settings import write_settings
from habla_ml_tests.testing.received_clips import Inbox, make_clip_id, make_inbox
from habla_ml_tests.testing.received_consents import give_consent

NOW = datetime(2026, 11, 29, 9, 30, tzinfo=UTC)
PHONE = str(UUID(int=1))
REQUIRED = ConsentSettings()
OPTIONAL = ConsentSettings(required=False)
WORKERS = 4
_MOST_CLIPS = 2_000
Result = TypeVar("Result")


@pytest.fixture
def inbox(tmp_path: Path, service_section: dict[str, str]) -> Inbox:
    return make_inbox(tmp_path, service=service_section)


@pytest.fixture
def workers(inbox: Inbox) -> Iterator[list[Database]]:
    opened = [open_database(inbox.workspace.settings) for _ in range(WORKERS)]
    yield opened
    for each in opened:
        each.close()


def run_at_once(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """Return the results of functions that begin together."""
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], Result]) -> Result:
        gate.wait(10)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def count(database: Database, table: Any) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_workers_that_start_at_once_create_the_tables_once(
    tmp_path: Path, make_service_section: Callable[[], dict[str, str]]
) -> None:
    settings: Settings = write_settings(tmp_path, service=make_service_section())
    opened = run_at_once([partial(open_database, settings)] * 8)
    assert [count(each, CLIPS) for each in opened] == [0] * 8


def test_the_same_first_consent_at_once_is_one_consent_to_one_text(workers: list[Database]) -> None:
    text = ConsentText("voice", 1, "es", "0" * 64, "# Voz\n")
    consent = NewConsent(str(UUID(int=5)), "c-1", "voice", 1, "0" * 64, False, False, NOW, device_id=PHONE)

    def record(connection: Connection) -> str:
        keep_consent_text(connection, text)
        return record_consent(connection, consent).consent_id

    found = run_at_once([partial(each.change, record) for each in workers])
    assert found == [consent.consent_id] * WORKERS
    assert [count(workers[0], each) for each in (CONSENTS, CONSENT_TEXTS)] == [1, 1]


def test_consents_of_many_contributors_at_once_each_raise_the_revision(workers: list[Database]) -> None:
    run_at_once([partial(give_consent, each, f"c-{number}") for number, each in enumerate(workers * 4)])
    with workers[0].read() as connection:
        assert read_revision(connection) == count(workers[0], CONSENTS) == WORKERS * 4


def test_the_same_answer_at_once_is_saved_once(workers: list[Database]) -> None:
    answer = Answer(
        answer_id=str(UUID(int=3)),
        segment_id=str(UUID(int=4)),
        session_id="s",
        day="2026-11-28",
        text="Buenas.",
        status="corrected",
        reason="",
        speaker="",
        person="Ana",
        created_at=NOW,
        seen_text=None,
        model_version="v1",
        attempt=0,
        is_blind=False,
    )
    assert run_at_once([partial(save_answer, each, answer) for each in workers]) == [answer] * WORKERS


def make_point(number: int) -> NewDataPoint:
    return NewDataPoint(str(UUID(int=number)), make_clip_id(1), "Uno.", "corrected", "", NOW, "es", "1", "v1", None)


def test_the_same_batch_in_any_order_at_once_is_kept_once(workers: list[Database]) -> None:
    points = [make_point(number) for number in range(200)]
    orders = [points, points[::-1]] * (WORKERS // 2)
    sends = [
        partial(receive_data_points, each, PHONE, order, NOW, OPTIONAL)
        for each, order in zip(workers, orders, strict=True)
    ]
    outcomes = [each.value for result in run_at_once(sends) for each in result]
    assert sorted(outcomes) == ["accepted"] * 200 + ["duplicate"] * 200 * (WORKERS - 1)
    assert count(workers[0], DATA_POINTS) == 200


def test_no_text_stays_on_a_clip_that_is_erased_at_the_same_time(inbox: Inbox, workers: list[Database]) -> None:
    for number in range(10):
        sent_id = str(UUID(int=number))
        path = inbox.workspace.root / f"body-{number}"
        path.write_bytes(b"x")
        clip = NewClip(sent_id, hashlib.sha256(b"x").hexdigest(), PHONE, None, "s", None, NOW)
        ClipReceiver(inbox.database, inbox.store, OPTIONAL).receive(clip, path)
        points = [
            NewDataPoint(str(uuid4()), sent_id, "Uno.", "corrected", "", NOW, "es", "1", "v1", None) for _ in range(20)
        ]
        erase = partial(erase_clips, inbox.database, inbox.store, [clip.clip_id], NOW)
        sends = [partial(receive_data_points, each, PHONE, points, NOW, OPTIONAL) for each in workers[:2]]
        run_at_once([erase, *sends])
        assert count(inbox.database, DATA_POINTS) == 0


@contextmanager
def uploading(inbox: Inbox, workers: Sequence[Database], contributor: str) -> Iterator[list[str]]:
    """Upload clips from all workers without a pause until they are refused; yield the clips that were stored."""
    stored: list[str] = []

    def upload(number: int) -> None:
        receiver = ClipReceiver(workers[number % WORKERS], inbox.store, REQUIRED)
        path = inbox.workspace.root / f"body-{number}"
        while len(stored) < _MOST_CLIPS:
            path.unlink(missing_ok=True)
            path.write_bytes(b"x")
            clip = NewClip(str(uuid4()), hashlib.sha256(b"x").hexdigest(), PHONE, contributor, "s", None, NOW)
            try:
                receiver.receive(clip, path)
            except ConsentMissingError:
                return
            stored.append(clip.clip_id)

    with ThreadPoolExecutor(2 * WORKERS) as pool:
        running = [pool.submit(upload, number) for number in range(2 * WORKERS)]
        yield stored
        for each in running:
            each.result(30)
    assert len(stored) < _MOST_CLIPS


def withdraw(connection: Connection, contributor: str) -> None:
    withdraw_consents(connection, contributor, NOW)


def record_that_a_minor_has_no_guardian(connection: Connection, contributor: str) -> None:
    record_consent(connection, NewConsent(str(uuid4()), contributor, "voice", 1, "0" * 64, True, False, NOW))


@pytest.mark.long
@pytest.mark.parametrize("end_consent", [withdraw, record_that_a_minor_has_no_guardian])
def test_nothing_is_stored_after_the_end_of_a_consent_was_acknowledged(
    inbox: Inbox, workers: list[Database], end_consent: Callable[[Connection, str], None]
) -> None:
    all_stored = 0
    for number in range(8):
        give_consent(inbox.database, f"c-{number}")
        with uploading(inbox, workers, f"C-{number}") as stored:
            while len(stored) < 10:
                time.sleep(0.001)
            # Uploads without a pause do not keep it waiting.
            inbox.database.change(partial(end_consent, contributor=f"c-{number}"))
            held = count(inbox.database, CLIPS)
        all_stored += len(stored)
        assert count(inbox.database, CLIPS) == held == all_stored
    assert len(list(inbox.store.list(""))) == all_stored
