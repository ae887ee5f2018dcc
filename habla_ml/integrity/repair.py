"""Copy missing and damaged objects of a lake from a backup; the sha256 proves that they are the same."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from habla_ml.errors import ObjectMissingError
from habla_ml.integrity.copy_object import DamagedObjectError, copy_object, open_verified
from habla_ml.lake import Store
from habla_ml.lake.lake import make_object_key


def repair_objects(store: Store, backup: Store, object_ids: Iterable[str], scratch: Path) -> int:
    """Replace faulty objects of a lake by those of a backup; return their number.

    Objects that the backup does not have, or has damaged, stay as they are. Raises `LakeError` if one of the stores
    cannot be read or written.
    """
    repaired = 0
    for each in object_ids:
        try:
            with open_verified(backup, each, scratch):
                # A damaged object is in the way of its replacement; readers see it missing for a moment.
                store.delete(make_object_key(each))
            copy_object(backup, store, each, scratch)
        except (ObjectMissingError, DamagedObjectError):
            continue
        repaired += 1
    return repaired
