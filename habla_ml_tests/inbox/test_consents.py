"""The consents of the service, in a real database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from habla_ml.errors import InputError
from habla_ml.inbox.consents import (
    ConsentConflictError,
    ErasurePendingError,
    ForeignContributorError,
    NewConsent,
    RecordedConsent,
    count_contributors,
    find_standing_consent,
    list_awaiting_erasure,
    list_contributors,
    mark_erased,
    read_revision,
    record_consent,
    withdraw_consents,
)
from habla_ml.inbox.database import Database, open_database
from habla_ml_tests.testing.deployment_settings import write_settings

NOW = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PHONE = str(UUID(int=1))


@pytest.fixture
def database(tmp_path: Path, service_section: dict[str, str]) -> Database:
    return open_database(write_settings(tmp_path, service=service_section))


def make_consent(number: int = 0, **fields: object) -> NewConsent:
    new = NewConsent(str(UUID(int=number)), "c-17", "voice", 1, "0" * 64, False, False, NOW, device_id=PHONE)
    return replace(new, **fields)  # type: ignore[arg-type]


def record(database: Database, number: int = 0, **fields: object) -> RecordedConsent:
    with database.write() as connection:
        return record_consent(connection, make_consent(number, **fields))


def withdraw(database: Database, contributor: str = "c-17", at: datetime = LATER) -> None:
    with database.write() as connection:
        withdraw_consents(connection, contributor, at)


def has_consent(database: Database, contributor: str = "c-17", oldest_version: int = 1) -> bool:
    with database.write() as connection:
        return find_standing_consent(connection, contributor, oldest_version) is not None


def test_contributors_are_listed_by_pages_and_found_by_a_part_of_the_pseudonym(database: Database) -> None:
    for number, name in enumerate(("c-3", "C-1", "c_2", "c-10", "c%4")):
        record(database, 2 * number, contributor=name)
        record(database, 2 * number + 1, contributor=name, document_version=2, given_at=LATER)

    def read_page(search: str, skipped: int = 0, most: int = 10) -> list[str]:
        with database.read() as connection:
            found = list_contributors(connection, search, skipped, most)
            assert count_contributors(connection, search) >= len(found)
        assert [[each.document_version for each in own] for own in found] == [[1, 2]] * len(found)
        return [own[0].contributor_key for own in found]

    everyone = read_page("")
    assert sorted(everyone) == ["c%4", "c-1", "c-10", "c-3", "c_2"]
    assert [*read_page("", 0, 2), *read_page("", 2, 2), *read_page("", 4, 2)] == everyone
    assert sorted(read_page(" C-1 ")) == ["c-1", "c-10"]
    assert (read_page("%"), read_page("_"), read_page("'"), read_page("\\")) == (["c%4"], ["c_2"], [], [])


def test_a_consent_stands_in_every_spelling_of_the_pseudonym(database: Database) -> None:
    assert not has_consent(database)
    record(database)
    assert has_consent(database, "\u200b C-17 ")
    assert not has_consent(database, "c-18")


def test_a_minor_needs_a_guardian_even_if_another_consent_says_adult(database: Database) -> None:
    record(database, 1, minor=True)
    assert not has_consent(database)
    record(database, 2, minor=False)
    assert not has_consent(database)
    record(database, 3, minor=True, guardian=True, given_at=LATER)
    assert has_consent(database)


def test_consents_to_an_older_version_count_only_while_no_newer_is_required(database: Database) -> None:
    record(database, document_version=2)
    assert has_consent(database, oldest_version=2)
    assert not has_consent(database, oldest_version=3)


def test_the_same_consent_again_is_the_first_one_and_other_content_is_refused(database: Database) -> None:
    first = record(database)
    assert record(database) == first
    with pytest.raises(ConsentConflictError, match="make a new id"):
        record(database, minor=True)
    with pytest.raises(ConsentConflictError, match="make a new id"):
        record(database, device_id=str(UUID(int=2)))


def test_a_withdrawal_takes_back_every_consent_and_waits_for_the_erasure(database: Database) -> None:
    record(database, 1)
    record(database, 2, document="children")
    withdraw(database, "C-17")
    assert not has_consent(database)
    with database.write() as connection:
        assert list_awaiting_erasure(connection) == ["c-17"]


def test_a_new_consent_counts_only_after_the_erasure_and_if_it_is_newer_than_the_withdrawal(database: Database) -> None:
    record(database, 1)
    withdraw(database)
    with pytest.raises(ErasurePendingError):
        record(database, 2, given_at=LATER + timedelta(seconds=1))
    with database.write() as connection:
        mark_erased(connection, "c-17", LATER)
        assert list_awaiting_erasure(connection) == []
    with pytest.raises(ConsentConflictError, match="ask the person again"):
        record(database, 3, given_at=LATER)
    record(database, 4, given_at=LATER + timedelta(seconds=1))
    assert has_consent(database)


def test_a_device_records_no_consent_for_a_pseudonym_of_another_device_or_of_a_person(database: Database) -> None:
    record(database, 1)
    with pytest.raises(ForeignContributorError):
        record(database, 2, device_id=str(UUID(int=2)), contributor="C-17")
    record(database, 3, device_id=None, account_id=str(UUID(int=5)))
    record(database, 4)
    record(database, 5, device_id=None, contributor="c-18")
    with pytest.raises(ForeignContributorError):
        record(database, 6, contributor="c-18")


@pytest.mark.parametrize("contributor", ["", " \u200b ", "a" * 101, "\ufdfa" * 20, "a" + "\u200b" * 100, "a\0b"])
def test_a_pseudonym_that_cannot_be_compared_is_refused(database: Database, contributor: str) -> None:
    with pytest.raises(InputError, match=r"use 1 to 100|control character"):
        record(database, contributor=contributor)


def test_every_change_raises_the_revision_and_a_refused_one_does_not(database: Database) -> None:
    revisions = []
    for change in (lambda: record(database, 1), lambda: withdraw(database)):
        change()
        with database.read() as connection:
            revisions.append(read_revision(connection))
    with pytest.raises(ErasurePendingError):
        record(database, 2, given_at=LATER + timedelta(days=1))
    with database.read() as connection:
        revisions.append(read_revision(connection))
    assert revisions == [1, 2, 2]
