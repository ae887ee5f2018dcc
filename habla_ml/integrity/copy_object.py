"""Copy an object from one store to another, verified by its sha256."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from habla_ml.errors import LakeError, ObjectMissingError
from habla_ml.lake import Store, compute_sha256
from habla_ml.lake.lake import make_object_key


class DamagedObjectError(LakeError):
    """The bytes of an object do not have the sha256 that is its id."""


def copy_object(source: Store, target: Store, sha256: str, scratch: Path) -> None:
    """Copy an object, durably.

    Args:
        source: Where the object is.
        target: Where it is written, unless it is there.
        sha256: Its id.
        scratch: Local folder for a copy of a remote object.

    Raises:
        ObjectMissingError: The source does not have it.
        DamagedObjectError: The source has other bytes under this id. Nothing was written.
        LakeError: One of the stores cannot be read or written.
    """
    with open_verified(source, sha256, scratch) as path:
        if source.local_path(make_object_key(sha256)) is None:
            target.adopt_if_absent(make_object_key(sha256), path, sha256)
        else:
            target.put_if_absent(make_object_key(sha256), path, sha256)


def remove_unless_whole(store: Store, sha256: str, scratch: Path) -> bool:
    """Return whether a store has an object with the right bytes; remove it if it is damaged."""
    try:
        with open_verified(store, sha256, scratch):
            return True
    except ObjectMissingError:
        return False
    except DamagedObjectError:
        store.delete(make_object_key(sha256))
        return False


@contextmanager
def open_verified(source: Store, sha256: str, scratch: Path) -> Iterator[Path]:
    """Yield a local file with the verified bytes of an object, with the errors of `copy_object`."""
    key = make_object_key(sha256)
    local = source.local_path(key)
    path = scratch / uuid.uuid4().hex if local is None else local
    try:
        if local is None:
            source.fetch(key, path)
        found = compute_sha256(path)
        if found != sha256:
            raise DamagedObjectError(
                f"object {sha256} in {source.url} is damaged: its bytes have the sha256 {found}; run `habla-ml fsck --deep`"
            )
        yield path
    except OSError as error:
        raise LakeError(f"cannot read {key} in {source.url}: {error.strerror}; check the disk") from error
    finally:
        if local is None:
            path.unlink(missing_ok=True)
