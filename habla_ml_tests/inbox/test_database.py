"""The service's database, in a real file with several real processes."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from habla_ml.errors import SettingsError
from habla_ml.inbox.database import Database, open_database
from habla_ml.inbox.schema import ENROLMENT_CODES, SCHEMA_STATE
from habla_ml.settings import Settings
from habla_ml_tests.testing.deployment_settings import write_settings

NOW = datetime(2026, 11, 29, 6, 30, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, service_section: dict[str, str]) -> Settings:
    return write_settings(tmp_path, service=service_section)


def add_code(database: Database, digest: str, at: datetime = NOW) -> None:
    with database.write() as connection:
        row = {"code_digest": digest, "label": "a phone", "created_at": at, "expires_at": at}
        connection.execute(insert(ENROLMENT_CODES).values(row))


def list_codes(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(ENROLMENT_CODES.c.code_digest).order_by("code_digest")))


def test_a_reopened_database_has_what_was_written_with_aware_times(settings: Settings) -> None:
    add_code(open_database(settings), "a")
    again = open_database(settings)
    assert list_codes(again) == ["a"]
    with again.read() as connection:
        assert connection.scalar(select(ENROLMENT_CODES.c.created_at)) == NOW


def test_a_naive_time_is_refused_and_undoes_the_block(settings: Settings) -> None:
    database = open_database(settings)
    with pytest.raises(Exception, match="has no time zone"):
        add_code(database, "b", datetime(2026, 11, 29))
    assert list_codes(database) == []


@pytest.mark.long
def test_writers_of_several_processes_wait_for_each_other(settings: Settings, tmp_path: Path) -> None:
    open_database(settings)
    script = (
        "import sys; from habla_ml.settings import load_settings; from habla_ml.inbox.database import open_database\n"
        "from habla_ml_tests.inbox.test_database import add_code\n"
        f"database = open_database(load_settings({str(tmp_path / 'configs' / 'here.yaml')!r}, {{}}))\n"
        "for at in range(50): add_code(database, f'{sys.argv[1]}-{at:02}')\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, name]) for name in ("one", "two", "three")]
    assert [each.wait() for each in running] == [0, 0, 0]
    assert len(list_codes(open_database(settings))) == 150


def test_a_database_of_a_newer_version_is_refused(settings: Settings) -> None:
    with open_database(settings).write() as connection:
        connection.execute(update(SCHEMA_STATE).values(version=99))
    with pytest.raises(SettingsError, match="schema version 99"):
        open_database(settings)
