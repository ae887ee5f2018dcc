"""What only PostgreSQL has: addresses and passwords, a server that crashes, deadlocks, and a bound on connections."""

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text, update

from habla_ml.errors import InputError, LakeError, SettingsError
from habla_ml.inbox import postgres_connection
from habla_ml.inbox.consents import withdraw_consents
from habla_ml.inbox.database import Database, LostRaceError, open_database
from habla_ml.inbox.locks import hold_contributors
from habla_ml.inbox.schema import CLIPS, ENROLMENT_CODES
from habla_ml.inbox.unread_clips import find_unread_hours, mark_ingested, read_unread_clips
from habla_ml.settings import save_settings
from habla_ml_tests.testing.deployment_settings import write_settings
from habla_ml_tests.testing.faulty_network import Fault, FaultPlan, FaultyTcp, fail_once
from habla_ml_tests.testing.postgres_server import PASSWORD, PASSWORD_VARIABLE, PostgresServer
from habla_ml_tests.testing.received_clips import HOUR, RECEIVED, make_clip_id, make_inbox
from habla_ml_tests.testing.received_consents import give_consent

NOW = datetime(2026, 11, 29, 6, 30, tzinfo=UTC)


@pytest.fixture
def address(make_postgres_section: Callable[[], dict[str, str]]) -> str:
    return make_postgres_section()["database"]


@pytest.fixture
def database(tmp_path: Path, address: str) -> Database:
    return open_database(write_settings(tmp_path, service={"database": address}))


def add_code(connection: Connection, digest: str) -> None:
    row = {"code_digest": digest, "label": "a phone", "created_at": NOW, "expires_at": NOW}
    connection.execute(insert(ENROLMENT_CODES).values(row))


def list_codes(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(ENROLMENT_CODES.c.code_digest).order_by("code_digest")))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://habla:hidden@db.example/habla",
        "postgresql://habla@db.example/habla?password=hidden",
        "postgresql://habla:12/hidden@db.example/habla",
        "postgresql://habla:#hidden@db.example/habla",
        "postgresql://db.example:hidden/habla",
        "postgresql://db.example",
        "mysql://db.example/hidden",
        "hidden",
    ],
)
def test_an_address_with_a_password_or_none_at_all_is_refused_and_not_quoted(tmp_path: Path, address: str) -> None:
    with pytest.raises(SettingsError, match=r"key service\.database: ") as refused:
        write_settings(tmp_path, service={"database": address})
    assert "hidden" not in str(refused.value)
    assert "db.example" not in str(refused.value)


def test_the_password_is_in_no_error_and_no_saved_settings(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = write_settings(tmp_path, service={"database": address})
    monkeypatch.setenv(PASSWORD_VARIABLE, "a-wrong-secret")
    with pytest.raises(LakeError, match='password authentication failed for user "habla"') as refused:
        open_database(settings)
    assert "a-wrong-secret" not in f"{refused.value} {refused.value.__cause__}"
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    open_database(settings)
    assert PASSWORD not in save_settings(settings, tmp_path).read_text()


def test_a_missing_driver_is_named_with_its_installation(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"pip install 'habla-ml\[postgres\]'"):
        open_database(write_settings(tmp_path, service={"database": address}))


@pytest.mark.slow
def test_a_server_that_crashed_has_what_was_committed_and_is_used_again(
    database: Database, postgres_server: PostgresServer
) -> None:
    database.change(partial(add_code, digest="a"))

    def crash_between(connection: Connection) -> None:
        add_code(connection, "b")
        postgres_server.crash()
        add_code(connection, "c")

    with pytest.raises(LakeError, match="cannot be used"):
        database.change(crash_between)
    assert list_codes(database) == ["a"]


def test_an_answer_that_is_held_ends_in_an_error_and_the_connection_is_replaced(
    tmp_path: Path, address: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "ANSWER_TIMEOUT_S", 1.0)
    plan = FaultPlan(fail_once(Fault.HELD, ""), held_s=30)
    with FaultyTcp(("127.0.0.1", postgres_server.port), plan) as proxy:
        through_proxy = address.replace(str(postgres_server.port), str(proxy.port))
        with pytest.raises(LakeError, match="sent nothing for 1 s"):
            read_much(open_database(write_settings(tmp_path, service={"database": through_proxy})))
        read_much(open_database(write_settings(tmp_path, service={"database": through_proxy})))
    assert plan.counted == {Fault.HELD: 1}


def read_much(database: Database) -> None:
    """Read 40 kB in small answers, more than the proxy passes before its fault."""
    for _ in range(40):
        with database.read() as connection:
            assert connection.scalar(text("SELECT repeat('x', 1000)")) == "x" * 1000


def test_two_transactions_that_wait_for_each_other_both_succeed(database: Database) -> None:
    for digest in ("a", "b"):
        database.change(partial(add_code, digest=digest))
    have_both_begun = threading.Barrier(2)
    attempts = []

    def relabel(first: str, second: str) -> None:
        def work(connection: Connection) -> None:
            attempts.append(first)
            relabelled = update(ENROLMENT_CODES).values(label=first)
            connection.execute(relabelled.where(ENROLMENT_CODES.c.code_digest == first))
            if len(attempts) <= 2:
                have_both_begun.wait(10)
            connection.execute(relabelled.where(ENROLMENT_CODES.c.code_digest == second))

        database.change(work)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(relabel, ["a", "b"], ["b", "a"]))
    assert len(attempts) > 2
    with database.read() as connection:
        assert len(set(connection.scalars(select(ENROLMENT_CODES.c.label)))) == 1


def test_a_transaction_that_never_wins_is_given_up(database: Database) -> None:
    attempts = []

    def work(connection: Connection) -> None:
        attempts.append(1)
        connection.execute(text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"))

    with pytest.raises(LostRaceError, match="try again"):
        database.change(work)
    assert len(attempts) == 5


def test_all_queries_of_a_block_that_reads_see_one_state_and_none_writes(database: Database) -> None:
    with database.read() as connection:
        assert connection.execute(select(ENROLMENT_CODES.c.code_digest)).all() == []
        database.change(partial(add_code, digest="a"))
        assert connection.execute(select(ENROLMENT_CODES.c.code_digest)).all() == []
    assert list_codes(database) == ["a"]
    with pytest.raises(LakeError, match="ReadOnlySqlTransaction"), database.read() as connection:
        add_code(connection, "b")
    database.change(partial(add_code, digest="c"))


def test_what_commits_after_a_later_one_was_read_is_read_the_next_time(
    tmp_path: Path, make_postgres_section: Callable[[], dict[str, str]]
) -> None:
    inbox = make_inbox(tmp_path, service=make_postgres_section())
    template = dict(inbox.read_clip(inbox.receive(1)))
    early = {"clip_id": make_clip_id(2), "received_at": RECEIVED - timedelta(seconds=1)}
    with inbox.database.write() as connection:
        connection.execute(insert(CLIPS).values({**template, **early}))
        first = read_unread_clips(inbox.database, HOUR)
        before = find_unread_hours(inbox.database)
        mark_ingested(inbox.database, {each.clip_id: "s-1" for each in first}, "2026-03-02")
    assert [each.clip_id for each in first] == [make_clip_id(1)]
    assert [each.clip_id for each in read_unread_clips(inbox.database, HOUR)] == [make_clip_id(2)]
    # The sensor sees another state of the hour, so that it requests the hour again.
    assert [each.clips for each in before] == [each.clips for each in find_unread_hours(inbox.database)] == [1]
    assert before != find_unread_hours(inbox.database)


@pytest.mark.parametrize("value", ["a\0b", "a" * 101])
def test_a_value_that_the_database_refuses_is_a_fault_of_the_input(database: Database, value: str) -> None:
    relabelled = update(ENROLMENT_CODES).values(label=value)
    database.change(partial(add_code, digest="a"))
    with pytest.raises(InputError, match="refuses a value") as refused:
        database.change(lambda connection: connection.execute(relabelled).rowcount)
    assert value not in f"{refused.value} {refused.value.__cause__}"


def test_more_threads_than_connections_wait_for_one(database: Database) -> None:
    def read(_: int) -> None:
        with database.read() as connection:
            connection.execute(text("SELECT pg_sleep(0.02)"))

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(read, range(80)))
    with database.read() as connection:
        own = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'habla-ml'")
        assert connection.scalar(own) == 10


def test_a_transaction_of_a_machine_that_vanished_and_a_wait_for_it_are_bounded(database: Database) -> None:
    bounds = ("idle_in_transaction_session_timeout", "lock_timeout", "transaction_isolation")
    with database.write() as connection:
        found = [connection.scalar(text(f"SHOW {name}")) for name in bounds]
    assert found == ["1min", "30s", "read committed"]


def test_options_in_the_address_come_first(tmp_path: Path, address: str) -> None:
    service = {"database": f"{address}?application_name=ours&sslmode=disable"}
    with open_database(write_settings(tmp_path, service=service)).read() as connection:
        assert connection.scalar(text("SHOW application_name")) == "ours"
        assert connection.scalar(text("SHOW lock_timeout")) == "30s"


def test_a_commit_waits_for_the_disk_even_if_the_role_would_not(
    tmp_path: Path, address: str, postgres_server: PostgresServer
) -> None:
    with postgres_server.connect() as administrator:
        administrator.execute("ALTER ROLE habla SET synchronous_commit = off")
        try:
            with open_database(write_settings(tmp_path, service={"database": address})).write() as connection:
                assert connection.scalar(text("SHOW synchronous_commit")) == "on"
        finally:
            administrator.execute("ALTER ROLE habla RESET synchronous_commit")


def test_a_withdrawal_has_its_turn_among_uploads_that_overlap_without_a_gap(database: Database) -> None:
    give_consent(database, "c-1")
    is_ended = threading.Event()
    held_at: list[float] = []

    def upload(delay_s: float) -> None:
        time.sleep(delay_s)
        while not is_ended.is_set():
            with database.write() as connection:
                hold_contributors(connection, ["c-1"])
                held_at.append(time.monotonic())
                time.sleep(0.2)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(upload, number * 0.05) for number in range(4)]
        while len(held_at) < 8:
            time.sleep(0.01)
        began = time.monotonic()
        database.change(lambda connection: withdraw_consents(connection, "c-1", NOW))
        took = time.monotonic() - began
        is_ended.set()
        for each in running:
            each.result()
    assert took < 2
