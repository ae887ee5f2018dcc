"""The lock of a store of backups: one process writes at a time, since a removal of old objects must not meet a backup.

The lock is a value in the store, so that it holds between machines. Its holder renews it, and at the end marks it as free;
so a backup needs no right to delete. The lock of a process that was
killed ends at once where the next one runs on the same machine, otherwise after two hours.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from habla_ml.backup.manifest import BACKUPS_PREFIX
from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Store, to_canonical_json

LOCK_KEY: Final = f"{BACKUPS_PREFIX}lock.json"
_EXPIRES_AFTER: Final = timedelta(hours=2)
_RENEWED_EVERY: Final = timedelta(minutes=1)


@dataclass
class BackupLock:
    """A lock that this process holds."""

    store: Store
    tag: str
    nonce: str
    renewed_at: datetime

    def renew(self) -> None:
        """Renew the lock if a minute has passed; raise `LakeError` if another process has taken it."""
        now = datetime.now(UTC)
        if now - self.renewed_at < _RENEWED_EVERY:
            return
        try:
            self.tag = self.store.compare_and_set(LOCK_KEY, _make_value(self.nonce, now), self.tag)
        except PointerMovedError:
            raise LakeError(
                f"another process took the lock of {self.store.url} after {_EXPIRES_AFTER} without a renewal; run again"
            ) from None
        self.renewed_at = now


@contextmanager
def hold_backup_lock(store: Store) -> Iterator[BackupLock]:
    """Hold the lock of a store of backups; raise `LakeError` while another process holds it."""
    seen = store.read_versioned(LOCK_KEY)
    if seen is not None:
        _require_ended(store, seen.data)
    nonce, now = secrets.token_hex(16), datetime.now(UTC)
    try:
        tag = store.compare_and_set(LOCK_KEY, _make_value(nonce, now), None if seen is None else seen.tag)
    except PointerMovedError:
        raise LakeError(f"another backup to {store.url} has just begun; run again when it has ended") from None
    try:
        yield BackupLock(store, tag, nonce, now)
    finally:
        found = store.read_versioned(LOCK_KEY)
        if found is not None and json.loads(found.data)["nonce"] == nonce:
            with suppress(PointerMovedError):  # another process took it after it had expired
                store.compare_and_set(LOCK_KEY, _make_value(nonce, now, is_held=False), found.tag)


def _make_value(nonce: str, now: datetime, *, is_held: bool = True) -> bytes:
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "nonce": nonce}
    return to_canonical_json({**holder, "renewed_at": now.isoformat(), "is_held": is_held})


def _require_ended(store: Store, data: bytes) -> None:
    value: dict[str, Any] = json.loads(data)
    expires_at = datetime.fromisoformat(value["renewed_at"]) + _EXPIRES_AFTER
    if not value["is_held"] or datetime.now(UTC) >= expires_at:
        return
    if value["host"] == socket.gethostname() and not _is_another_process(value["pid"]):
        return
    raise LakeError(
        f"process {value['pid']} on {value['host']} writes a backup to {store.url}; wait until it ends. If it was killed, its "
        f"lock ends at {expires_at:%Y-%m-%d %H:%M} UTC"
    )


def _is_another_process(pid: int) -> bool:
    if pid == os.getpid():  # of a killed process in a container, where ids are given again
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
