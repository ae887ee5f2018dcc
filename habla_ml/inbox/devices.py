"""The devices that may send: enrolled with a code, known by a token, revocable. Codes and tokens are kept as digests only.

A code has 60 random bits, is valid for hours and for one device. A token has 256 random bits, so a plain sha256 cannot be
reversed. It names its device in front, so that the secret part is compared in constant time and never searched for.

A device whose answer was lost repeats its enrolment with the same key, and gets the same token. Id and secret are then
derived from the code and this key of 256 random bits, so that the service need not keep the token.

A device that shows its earlier token, valid or expired, stays the same device, and its token is valid again. Its consents and
clips would otherwise be those of another one, which it can neither withdraw nor correct.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from habla_ml.errors import InputError
from habla_ml.inbox.database import Database
from habla_ml.inbox.schema import DEVICES, ENROLMENT_CODES

LONGEST_LABEL: Final = 100
_CODE_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O and U, which are read as digits or make words."""
_CODE_LENGTH: Final = 12
_CODE_GROUP: Final = 4
_LOOK_ALIKES: Final = str.maketrans("ILO", "110")
_TOKEN: Final = re.compile(r"habla_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")
_NO_DIGEST: Final = "0" * 64
_SECRET_BYTES: Final = 32
_SEEN_STEP: Final = timedelta(hours=1)
"""How exact `last_seen_at` is; a write of each request would cost more than the request."""
_CODE_KEPT: Final = timedelta(days=30)


@dataclass(frozen=True)
class Device:
    """A device whose token was checked."""

    device_id: str
    label: str


@dataclass(frozen=True)
class EnrolledDevice:
    """A new device. The token is shown this once."""

    device: Device
    token: str
    expires_at: datetime


@dataclass(frozen=True)
class ListedDevice:
    """A device as the operator sees it."""

    device: Device
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_seen_at: datetime | None
    """Exact to an hour."""

    def describe_state(self, now: datetime) -> str:
        """Return `active`, `revoked` or `expired`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


def create_enrolment_code(database: Database, label: str, now: datetime, lifetime: timedelta) -> str:
    """Return a new code for one device, such as `7Q2M-X0KD-93FA`. Only its digest is kept.

    Raises:
        InputError: The label is not 1 to 100 visible characters.
    """
    if not 0 < len(label) <= LONGEST_LABEL or not label.isprintable() or label.isspace():
        raise InputError(
            f"label {label!r} is not 1 to {LONGEST_LABEL} visible characters; give the device another name"
        )
    code = "".join(secrets.choice(_CODE_ALPHABET) for _ in range(_CODE_LENGTH))
    row = {"code_digest": _digest(code), "label": label, "created_at": now, "expires_at": now + lifetime}
    with database.write() as connection:
        connection.execute(delete(ENROLMENT_CODES).where(ENROLMENT_CODES.c.expires_at < now - _CODE_KEPT))
        connection.execute(insert(ENROLMENT_CODES).values(row))
    return "-".join(code[at : at + _CODE_GROUP] for at in range(0, _CODE_LENGTH, _CODE_GROUP))


def enrol_device(
    database: Database,
    code: str,
    now: datetime,
    lifetime: timedelta,
    key: str | None = None,
    earlier_token: str = "",
) -> EnrolledDevice | None:
    """Return a new device for a code, or None if the code is unknown, used or expired.

    Capitals, blanks and hyphens do not matter, and I, L and O are read as 1, 1 and 0. With a secret `key` of the device, a
    code that was used with the same key returns the same device again, until the code expires. The device of an
    `earlier_token` that was not revoked is no new one: it keeps its id and token, with a new lifetime.
    """
    typed = re.sub(r"[\s-]", "", code).upper().translate(_LOOK_ALIKES)
    codes = ENROLMENT_CODES.c
    device_id, secret = _draw_identity() if key is None else _derive_identity(typed, key)
    expires_at = now + lifetime
    with database.write() as connection:
        is_valid = (codes.code_digest == _digest(typed), codes.expires_at > now)
        use = update(ENROLMENT_CODES).where(*is_valid, codes.used_at.is_(None)).values(used_at=now)
        label = connection.scalar(use.returning(codes.label))
        earlier = _find_token(connection, earlier_token)
        if label is None:
            is_used = connection.scalar(select(codes.code_digest).where(*is_valid)) is not None
            if earlier is not None and is_used and _list_device(earlier).describe_state(now) == "active":
                return EnrolledDevice(Device(earlier.device_id, earlier.label), earlier_token, earlier.expires_at)
            is_repeat = key is not None and is_used
            known = connection.execute(select(DEVICES).where(DEVICES.c.device_id == str(device_id))).one_or_none()
            if not is_repeat or known is None or _list_device(known).describe_state(now) != "active":
                return None
            device = Device(known.device_id, known.label)
            return EnrolledDevice(device, _format_token(device_id, secret), known.expires_at)
        if earlier is not None and earlier.revoked_at is None:
            renewal = update(DEVICES).where(DEVICES.c.device_id == earlier.device_id)
            connection.execute(renewal.values(label=label, expires_at=expires_at))
            return EnrolledDevice(Device(earlier.device_id, label), earlier_token, expires_at)
        row = {"device_id": str(device_id), "label": label, "token_digest": _digest(secret)}
        connection.execute(insert(DEVICES).values(**row, created_at=now, expires_at=expires_at))
    return EnrolledDevice(Device(str(device_id), label), _format_token(device_id, secret), expires_at)


def find_device(database: Database, token: str, now: datetime) -> Device | None:
    """Return the device of a token, or None if the token is wrong, expired or revoked."""
    with database.read() as connection:
        row = _find_token(connection, token)
    if row is None or _list_device(row).describe_state(now) != "active":
        return None
    if row.last_seen_at is None or now - row.last_seen_at >= _SEEN_STEP:
        with database.write() as connection:
            connection.execute(update(DEVICES).where(DEVICES.c.device_id == row.device_id).values(last_seen_at=now))
    return Device(row.device_id, row.label)


def _find_token(connection: Connection, token: str) -> Row[Any] | None:
    """Return the row of the device that got a token, whatever its state, or None for a wrong token."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    device_id = str(uuid.UUID(match[1]))
    row = connection.execute(select(DEVICES).where(DEVICES.c.device_id == device_id)).one_or_none()
    is_right = hmac.compare_digest(_NO_DIGEST if row is None else row.token_digest, _digest(match[2]))
    return row if is_right else None


def list_devices(database: Database) -> list[ListedDevice]:
    """Return all devices, the oldest first."""
    with database.read() as connection:
        return [_list_device(row) for row in connection.execute(select(DEVICES).order_by(DEVICES.c.created_at))]


def count_active_devices(database: Database, now: datetime) -> int:
    """Return how many devices have a valid token."""
    columns = DEVICES.c
    valid = (columns.revoked_at.is_(None), columns.expires_at.is_(None) | (columns.expires_at > now))
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(DEVICES).where(*valid)) or 0


def revoke_device(database: Database, device_id: str, now: datetime) -> ListedDevice:
    """Make the token of a device invalid from the next request on; what it sent is kept.

    Raises:
        InputError: No device has this id.
    """
    with database.write() as connection:
        where = DEVICES.c.device_id == device_id
        connection.execute(update(DEVICES).where(where, DEVICES.c.revoked_at.is_(None)).values(revoked_at=now))
        row = connection.execute(select(DEVICES).where(where)).one_or_none()
    if row is None:
        raise InputError(f"no device has the id {device_id!r}; `habla-ml device list` prints the ids")
    return _list_device(row)


def _draw_identity() -> tuple[uuid.UUID, str]:
    return uuid.uuid4(), secrets.token_urlsafe(_SECRET_BYTES)


def _derive_identity(code: str, key: str) -> tuple[uuid.UUID, str]:
    """Return id and secret of the device that enrols with this code and key; neither tells anything of the other."""

    def derive(purpose: str) -> bytes:
        return hmac.digest(key.encode(), f"habla_ml.{purpose}/1 {code}".encode(), "sha256")

    secret = base64.urlsafe_b64encode(derive("device_secret")).decode().rstrip("=")
    return uuid.UUID(bytes=derive("device_id")[:16], version=4), secret


def _format_token(device_id: uuid.UUID, secret: str) -> str:
    return f"habla_{device_id.hex}_{secret}"


def _list_device(row: Row[tuple[object, ...]]) -> ListedDevice:
    device = Device(row.device_id, row.label)
    return ListedDevice(device, row.created_at, row.expires_at, row.revoked_at, row.last_seen_at)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
