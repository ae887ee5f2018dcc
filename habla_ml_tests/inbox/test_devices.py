"""Enrolment codes and device tokens in the service's database."""

import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from habla_ml.errors import InputError
from habla_ml.inbox.database import Database, open_database
from habla_ml.inbox.devices import (
    EnrolledDevice,
    count_active_devices,
    create_enrolment_code,
    enrol_device,
    find_device,
    list_devices,
    revoke_device,
)
from habla_ml.inbox.schema import DEVICES
from habla_ml_tests.testing.database_files import read_database_files
from habla_ml_tests.testing.deployment_settings import write_settings

NOW = datetime(2026, 11, 29, 6, 30, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = "k" * 43


@pytest.fixture
def database(tmp_path: Path, service_section: dict[str, str]) -> Database:
    return open_database(write_settings(tmp_path, service=service_section))


def enrol(database: Database, label: str = "a phone") -> EnrolledDevice:
    enrolled = enrol_device(database, create_enrolment_code(database, label, NOW, DAY), NOW, 365 * DAY)
    assert enrolled is not None
    return enrolled


def test_a_code_enrols_one_device_however_it_is_typed(database: Database) -> None:
    code = create_enrolment_code(database, "aula 3", NOW, DAY)
    typed = " " + code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    enrolled = enrol_device(database, typed, NOW, DAY)
    assert enrolled is not None
    assert find_device(database, enrolled.token, NOW) == enrolled.device
    assert enrolled.device.label == "aula 3"
    assert enrol_device(database, code, NOW, DAY) is None


def test_an_expired_or_unknown_code_enrols_nothing(database: Database) -> None:
    code = create_enrolment_code(database, "a phone", NOW, DAY)
    assert enrol_device(database, code, NOW + DAY, DAY) is None
    assert enrol_device(database, "0000-0000-0000", NOW, DAY) is None
    assert list_devices(database) == []


def test_threads_that_send_one_code_at_once_get_one_device(database: Database) -> None:
    code, found = create_enrolment_code(database, "a phone", NOW, DAY), []
    threads = [threading.Thread(target=lambda: found.append(enrol_device(database, code, NOW, DAY))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 8
    assert sum(each is not None for each in found) == 1


def test_a_repeat_with_the_same_key_gets_the_same_device_until_the_code_expires(database: Database) -> None:
    code = create_enrolment_code(database, "a phone", NOW, DAY)
    first = enrol_device(database, code, NOW, 365 * DAY, KEY)
    assert first is not None
    assert enrol_device(database, code.lower(), NOW + DAY / 2, 365 * DAY, KEY) == first
    assert find_device(database, first.token, NOW) == first.device
    assert enrol_device(database, code, NOW, DAY, "another key") is None
    assert enrol_device(database, code, NOW, DAY) is None
    assert enrol_device(database, code, NOW + DAY, DAY, KEY) is None
    other = enrol_device(database, create_enrolment_code(database, "the same", NOW, DAY), NOW, DAY, KEY)
    assert other is not None
    assert other.device != first.device
    assert other.token[-43:] != first.token[-43:]
    revoke_device(database, first.device.device_id, NOW)
    assert enrol_device(database, code, NOW, DAY, KEY) is None
    assert first.token[-43:].encode() not in read_database_files(database)


def test_threads_that_repeat_one_enrolment_at_once_get_the_same_device(database: Database) -> None:
    code, found = create_enrolment_code(database, "a phone", NOW, DAY), []
    repeat = partial(enrol_device, database, code, NOW, DAY, KEY)
    threads = [threading.Thread(target=lambda: found.append(repeat())) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [repeat()] * 8
    assert count_active_devices(database, NOW) == 1


def test_neither_codes_nor_tokens_are_stored(database: Database) -> None:
    code = create_enrolment_code(database, "a phone", NOW, DAY)
    enrolled = enrol_device(database, code, NOW, DAY)
    assert enrolled is not None
    stored = read_database_files(database)
    assert b"a phone" in stored
    for secret in (code, code.replace("-", ""), enrolled.token, enrolled.token.split("_", 2)[2]):
        assert secret.encode() not in stored


def test_a_revoked_an_expired_and_a_changed_token_are_invalid(database: Database) -> None:
    one, other = enrol(database), enrol(database)
    assert find_device(database, one.token, NOW + 365 * DAY) is None
    mixed = one.token[:38] + "_" + other.token[39:]
    assert mixed != one.token
    assert find_device(database, mixed, NOW) is None
    assert find_device(database, one.token + "A", NOW) is None
    assert count_active_devices(database, NOW) == 2
    assert revoke_device(database, one.device.device_id, NOW).describe_state(NOW) == "revoked"
    assert find_device(database, one.token, NOW) is None
    assert find_device(database, other.token, NOW) == other.device
    assert count_active_devices(database, NOW) == 1


def test_a_second_revocation_keeps_the_first_time(database: Database) -> None:
    device_id = enrol(database).device.device_id
    revoke_device(database, device_id, NOW)
    assert revoke_device(database, device_id, NOW + DAY).revoked_at == NOW
    with pytest.raises(InputError, match="no device has the id"):
        revoke_device(database, "x", NOW)


def test_a_device_is_seen_once_an_hour(database: Database) -> None:
    enrolled = enrol(database)
    seen = []
    for minutes in (0, 59, 60):
        find_device(database, enrolled.token, NOW + timedelta(minutes=minutes))
        with database.read() as connection:
            seen.append(connection.scalar(select(DEVICES.c.last_seen_at)))
    assert seen == [NOW, NOW, NOW + timedelta(hours=1)]


@pytest.mark.parametrize("label", ["", " ", "a\nb", "x" * 101])
def test_a_label_that_cannot_be_read_is_refused(database: Database, label: str) -> None:
    with pytest.raises(InputError, match="visible characters"):
        create_enrolment_code(database, label, NOW, DAY)


def test_a_device_that_shows_its_expired_token_stays_the_same_device(database: Database) -> None:
    first, expired_at = enrol(database), NOW + 365 * DAY
    assert find_device(database, first.token, expired_at) is None
    code = create_enrolment_code(database, "aula 3", expired_at, DAY)
    renewed = enrol_device(database, code, expired_at, 365 * DAY, KEY, first.token)
    assert renewed is not None
    assert (renewed.device.device_id, renewed.token) == (first.device.device_id, first.token)
    assert renewed.expires_at == expired_at + 365 * DAY
    assert find_device(database, first.token, expired_at) == renewed.device
    assert enrol_device(database, code, expired_at, DAY, KEY, first.token) == renewed  # its answer was lost
    assert enrol_device(database, code, expired_at, DAY, KEY) is None
    assert len(list_devices(database)) == 1


def test_a_code_renews_no_revoked_device_and_none_of_a_wrong_token(database: Database) -> None:
    first = enrol(database)
    revoke_device(database, first.device.device_id, NOW)
    for token in (first.token, first.token[:-1] + ("a" if first.token[-1] != "a" else "b"), "x"):
        code = create_enrolment_code(database, "a phone", NOW, DAY)
        other = enrol_device(database, code, NOW, DAY, earlier_token=token)
        assert other is not None
        assert other.device.device_id != first.device.device_id
        assert enrol_device(database, code, NOW, DAY, earlier_token=token) is None
    assert find_device(database, first.token, NOW) is None
