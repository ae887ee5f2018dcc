"""Sessions of signed-in people: a signed cookie that names the account and its session number."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fastapi import Request, Response
from itsdangerous import BadData, URLSafeTimedSerializer

from habla_ml.errors import LakeError, SettingsError
from habla_ml.inbox.accounts import Account, find_account
from habla_ml.service.state import ServiceState
from habla_ml.settings import Settings

_LONGEST_SESSION_S: Final = 30 * 24 * 3600
_SHORTEST_SECRET: Final = 32
_SECRET_FILE: Final = "session_secret"  # noqa: S105 (the name of a file)


def start_session(response: Response, state: ServiceState, account: Account) -> None:
    """Give the browser the cookie of a session."""
    value = _open_serializer(state.settings).dumps([account.account_id, account.session_number])
    response.set_cookie(
        _get_cookie_name(state.settings),
        value,
        max_age=_LONGEST_SESSION_S,
        secure=state.settings.service.is_encrypted,
        httponly=True,
        samesite="lax",
    )


def forget_session(response: Response, state: ServiceState) -> None:
    """Let the browser forget the cookie."""
    response.delete_cookie(
        _get_cookie_name(state.settings), secure=state.settings.service.is_encrypted, httponly=True, samesite="lax"
    )


def read_session(request: Request, state: ServiceState) -> Account | None:
    """Return the account of a request's session; None without one, or where it has expired or was ended."""
    cookie = request.cookies.get(_get_cookie_name(state.settings))
    if cookie is None:
        return None
    try:
        account_id, number = _open_serializer(state.settings).loads(cookie, max_age=_LONGEST_SESSION_S)
    except BadData:
        return None
    with state.database.read() as connection:
        account = find_account(connection, account_id)
    is_valid = account is not None and account.disabled_at is None and account.session_number == number
    return account if is_valid else None


def load_secret(settings: Settings, environment: Mapping[str, str] = os.environ) -> str:
    """Return the key that signs the sessions: from the environment, or one that is made once and kept in a file.

    Raises `SettingsError` for a key of under 32 characters, `LakeError` if the file cannot be read or written.
    """
    place, remedy = settings.service.secret_variable, "use `openssl rand -hex 32`"
    secret = environment.get(place, "")
    if not secret:
        path = settings.service_folder / _SECRET_FILE
        # An empty or cut key, as after a copy on a full disk, can be guessed, and signs in as any person.
        place, remedy = str(path), "delete the file: a new key is made, and everybody signs in again"
        secret = _keep_secret(path)
    if len(secret) < _SHORTEST_SECRET:
        raise SettingsError(f"{place} has {len(secret)} characters, needed are {_SHORTEST_SECRET}; {remedy}")
    return secret


def _keep_secret(path: Path) -> str:
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_new(path)
        return path.read_text("ascii")
    except OSError as error:
        raise LakeError(f"{path} cannot be used: {error}; set service.folder to a folder of this user") from error


def _write_new(path: Path) -> None:
    """Write a key unless another worker is first; the file is whole from the moment it has its name."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(secrets.token_hex(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    finally:
        new.unlink()


def _open_serializer(settings: Settings) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(load_secret(settings), salt="habla_ml.session")


def _get_cookie_name(settings: Settings) -> str:
    # The prefix makes browsers refuse the cookie from any other host and from a connection without encryption.
    return "__Host-habla_session" if settings.service.is_encrypted else "habla_session"
