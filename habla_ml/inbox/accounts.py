"""The accounts of people: made by invitation, with a password and rights.

An invitation is a code that works once, until it expires. Codes are kept as digests and passwords as argon2id hashes. A
session carries the account's `session_number`; raising that number ends all sessions of the account.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from habla_ml.errors import InputError
from habla_ml.inbox.database import Database
from habla_ml.inbox.schema import ACCOUNTS, INVITATIONS
from habla_ml.inbox.typed_names import require_name_key
from habla_ml.names import canonical_name

if TYPE_CHECKING:
    from argon2 import PasswordHasher

RIGHTS: Final = ("correct", "consents", "release", "admin")
"""Correct transcripts, record and withdraw consents, move the release channel, and invite people."""
LOCAL_ACCOUNT_ID: Final = "local"
SHORTEST_PASSWORD: Final = 10
LONGEST_PASSWORD: Final = 200
_CODE_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_CODE_GROUPS: Final = 5


@dataclass(frozen=True)
class Account:
    """A person who uses the pages."""

    account_id: str
    name: str
    rights: frozenset[str]
    language: str
    """Language of the pages; empty for the browser's."""
    session_number: int = 0
    disabled_at: datetime | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is the person at this machine, without an account."""
        return self.account_id == LOCAL_ACCOUNT_ID


LOCAL_ACCOUNT: Final = Account(LOCAL_ACCOUNT_ID, "local", frozenset(RIGHTS), "")
"""The person who uses the service on the machine where it runs."""


class InvitationError(InputError):
    """An invitation code is unknown, used or expired."""


class NameTakenError(InputError):
    """Another account has the name."""


def invite(database: Database, rights: Iterable[str], now: datetime, valid_for: timedelta) -> str:
    """Return the code of a new invitation; raises `InputError` for an unknown right or none."""
    chosen = sorted(set(rights))
    if not chosen or not set(chosen) <= set(RIGHTS):
        raise InputError(f"rights {chosen} are not usable; choose among {', '.join(RIGHTS)}")
    groups = ("".join(secrets.choice(_CODE_ALPHABET) for _ in range(4)) for _ in range(_CODE_GROUPS))
    code = "-".join(groups)
    values = {"code_digest": _digest_code(code), "rights": chosen, "created_at": now, "expires_at": now + valid_for}
    with database.write() as connection:
        connection.execute(insert(INVITATIONS).values(values))
    return code


def accept_invitation(database: Database, code: str, name: str, password: str, language: str, now: datetime) -> Account:
    """Create the account of an invitation.

    Raises:
        InvitationError: The code is unknown, used or expired.
        NameTakenError: Another account has the name; the code still works.
        InputError: The name is empty, too long or has a control character, or the password is too short or too long.
    """
    shown = " ".join(name.split())
    key = require_name_key(shown, "a name")
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InputError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; choose another")
    columns = INVITATIONS.c
    usable = and_(columns.code_digest == _digest_code(code), columns.used_at.is_(None), columns.expires_at > now)
    # A hash takes time; it is not spent on a wrong code.
    with database.read() as connection:
        if connection.scalar(select(columns.code_digest).where(usable)) is None:
            raise InvitationError("the invitation code is unknown, used or expired; ask for another one")
    values = {
        "account_id": str(uuid.uuid4()),
        "name": shown,
        "name_key": key,
        "password_hash": _get_hasher().hash(_normalise_password(password)),
        "language": language,
        "session_number": 0,
        "created_at": now,
    }
    try:
        with database.write() as connection:
            rights = connection.scalar(select(columns.rights).where(usable).with_for_update())
            if rights is None:
                raise InvitationError("the invitation code is unknown, used or expired; ask for another one")
            connection.execute(insert(ACCOUNTS).values({**values, "rights": rights}))
            connection.execute(update(INVITATIONS).where(usable).values(used_at=now, account_id=values["account_id"]))
    except IntegrityError as error:
        raise NameTakenError("another account has this name; choose another name") from error
    return Account(str(values["account_id"]), str(values["name"]), frozenset(rights), language)


def authenticate(database: Database, name: str, password: str) -> Account | None:
    """Return the account with this name and password, or None; it takes as long for an unknown name."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    with database.read() as connection:
        row = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.name_key == canonical_name(name))).one_or_none()
    stored = _hash_nothing() if row is None else row.password_hash
    try:
        _get_hasher().verify(stored, _normalise_password(password[: LONGEST_PASSWORD + 1]))
    except (Argon2Error, InvalidHashError):
        return None
    return None if row is None or row.disabled_at is not None else _read_row(row)


def find_account(connection: Connection, account_id: str) -> Account | None:
    """Return an account by its id, also a disabled one, or None."""
    row = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.account_id == account_id)).one_or_none()
    return None if row is None else _read_row(row)


def list_accounts(database: Database) -> list[Account]:
    """Return all accounts by name."""
    with database.read() as connection:
        return [_read_row(row) for row in connection.execute(select(ACCOUNTS).order_by(ACCOUNTS.c.name_key))]


def count_accounts(database: Database, search: str = "") -> int:
    """Return how many accounts have `search` in their name, in whatever spelling."""
    query = select(func.count()).select_from(ACCOUNTS).where(_find_in_name(search))
    with database.read() as connection:
        return connection.scalar(query) or 0


def search_accounts(database: Database, search: str, skipped: int, most: int) -> list[Account]:
    """Return the next accounts with `search` in their name, by name."""
    query = select(ACCOUNTS).where(_find_in_name(search)).order_by(ACCOUNTS.c.name_key).offset(skipped).limit(most)
    with database.read() as connection:
        return [_read_row(row) for row in connection.execute(query)]


def _find_in_name(search: str) -> ColumnElement[bool]:
    return ACCOUNTS.c.name_key.contains(canonical_name(search), autoescape=True)


def set_account_language(database: Database, account_id: str, language: str) -> None:
    """Keep the language of the pages for an account."""
    with database.write() as connection:
        connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.account_id == account_id).values(language=language))


def end_sessions(database: Database, account_id: str) -> None:
    """End all sessions of an account."""
    raised = update(ACCOUNTS).where(ACCOUNTS.c.account_id == account_id)
    with database.write() as connection:
        connection.execute(raised.values(session_number=ACCOUNTS.c.session_number + 1))


def disable_account(database: Database, name: str, now: datetime) -> None:
    """Disable an account and end its sessions; raises `InputError` if no account has the name."""
    found = update(ACCOUNTS).where(ACCOUNTS.c.name_key == canonical_name(name))
    with database.write() as connection:
        changed = connection.execute(found.values(disabled_at=now, session_number=ACCOUNTS.c.session_number + 1))
    if changed.rowcount == 0:
        raise InputError(f"no account has the name {name!r}; `habla-ml account list` prints the names")


def _read_row(row: Row[Any]) -> Account:
    return Account(row.account_id, row.name, frozenset(row.rights), row.language, row.session_number, row.disabled_at)


def _digest_code(code: str) -> str:
    typed = "".join(each for each in code.upper() if each.isalnum())
    return hashlib.sha256(typed.encode()).hexdigest()


def _normalise_password(password: str) -> str:
    return unicodedata.normalize("NFC", password)


@cache
def _get_hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _hash_nothing() -> str:
    return _get_hasher().hash(secrets.token_hex())
