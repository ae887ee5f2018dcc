"""Accounts: an invitation makes one account, a password opens it, and nothing in the database gives either away."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.errors import InputError
from habla_ml.inbox.accounts import (
    InvitationError,
    NameTakenError,
    accept_invitation,
    authenticate,
    count_accounts,
    disable_account,
    invite,
    list_accounts,
    search_accounts,
    set_account_language,
)
from habla_ml.inbox.database import Database, open_database
from habla_ml_tests.testing.database_files import read_database_files
from habla_ml_tests.testing.deployment_settings import write_settings

NOW = datetime(2026, 11, 29, 8, tzinfo=UTC)
WEEK = timedelta(days=7)
PHRASE = "caballo grapa batería"


@pytest.fixture
def database(tmp_path: Path, service_section: dict[str, str]) -> Database:
    return open_database(write_settings(tmp_path, service=service_section))


def test_an_invitation_makes_one_account_with_its_rights(database: Database) -> None:
    code = invite(database, ["correct", "release"], NOW, WEEK)
    made = accept_invitation(database, code.lower().replace("-", " "), "Ana  María", PHRASE, "es", NOW)
    assert (made.name, made.rights, made.language) == ("Ana María", {"correct", "release"}, "es")
    with pytest.raises(InvitationError):
        accept_invitation(database, code, "Berta", PHRASE, "es", NOW)
    assert [each.name for each in list_accounts(database)] == ["Ana María"]


@pytest.mark.long
def test_an_account_is_found_by_a_part_of_its_name_and_keeps_its_language(database: Database) -> None:
    for name in ("José Muñoz", "Ana", "Berta"):
        account = accept_invitation(database, invite(database, ["correct"], NOW, WEEK), name, PHRASE, "es", NOW)
        set_account_language(database, account.account_id, "en")
    assert [each.name for each in search_accounts(database, "MUÑ", 0, 5)] == ["José Muñoz"]
    assert (count_accounts(database), count_accounts(database, "%")) == (3, 0)
    assert [each.name for each in search_accounts(database, "", 1, 1)] == ["Berta"]
    assert {each.language for each in list_accounts(database)} == {"en"}


@pytest.mark.long
def test_an_invitation_that_two_people_use_at_once_makes_one_account(database: Database) -> None:
    code = invite(database, ["correct"], NOW, WEEK)

    def accept(name: str) -> str:
        try:
            return accept_invitation(database, code, name, PHRASE, "es", NOW).name
        except InvitationError:
            return ""

    with ThreadPoolExecutor(4) as pool:
        made = [name for name in pool.map(accept, ["Ana", "Berta", "Carla", "Dora"]) if name]
    assert [each.name for each in list_accounts(database)] == made
    assert len(made) == 1


def test_an_expired_code_makes_no_account(database: Database) -> None:
    code = invite(database, ["correct"], NOW, WEEK)
    with pytest.raises(InvitationError):
        accept_invitation(database, code, "Ana", PHRASE, "es", NOW + WEEK)


@pytest.mark.long
def test_a_name_is_used_once_in_whatever_spelling_and_leaves_the_code_usable(database: Database) -> None:
    accept_invitation(database, invite(database, ["correct"], NOW, WEEK), "Ana", PHRASE, "es", NOW)
    code = invite(database, ["correct"], NOW, WEEK)
    with pytest.raises(NameTakenError):
        accept_invitation(database, code, " ANA ", PHRASE, "es", NOW)
    assert accept_invitation(database, code, "Berta", PHRASE, "es", NOW).name == "Berta"


@pytest.mark.long
def test_only_the_right_password_of_an_active_account_is_accepted(database: Database) -> None:
    accept_invitation(database, invite(database, ["correct"], NOW, WEEK), "Ana", PHRASE, "es", NOW)
    # The same letters, as another keyboard composes them.
    assert authenticate(database, "ana", "caballo grapa batería") is not None
    assert authenticate(database, "Ana", PHRASE + "x") is None
    assert authenticate(database, "Berta", PHRASE) is None
    disable_account(database, "Ana", NOW)
    assert authenticate(database, "Ana", PHRASE) is None


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("", PHRASE),
        ("\u200b", PHRASE),
        ("A\0na", PHRASE),
        ("A" + "\u200b" * 100, PHRASE),
        ("Ana", "short"),
        ("Ana", "x" * 201),
    ],
)
def test_a_name_or_password_that_is_unusable_is_refused(database: Database, name: str, password: str) -> None:
    with pytest.raises(InputError):
        accept_invitation(database, invite(database, ["correct"], NOW, WEEK), name, password, "es", NOW)


@pytest.mark.parametrize("rights", [[], ["everything"]])
def test_an_invitation_needs_rights_that_exist(database: Database, rights: list[str]) -> None:
    with pytest.raises(InputError, match="correct, consents, release, admin"):
        invite(database, rights, NOW, WEEK)


def test_the_database_has_neither_codes_nor_passwords(database: Database) -> None:
    code = invite(database, ["correct"], NOW, WEEK)
    accept_invitation(database, code, "Ana", PHRASE, "es", NOW)
    database.purge_deleted()
    stored = read_database_files(database)
    assert b"Ana" in stored
    for secret in (code, code.replace("-", ""), PHRASE):
        assert secret.encode() not in stored
