"""Where the inbox keeps the files of the clips, as they were sent: a store, one value a clip."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from habla_ml.errors import LakeError
from habla_ml.lake import Store
from habla_ml.lake.factory import open_store
from habla_ml.settings import Settings, StoreSettings

CLIP_PREFIX: Final = "clips/"


def open_clip_store(settings: Settings) -> Store:
    """Open the store of a deployment's clips; raises the errors of `open_store`."""
    folder = settings.service_folder / "inbox"
    return open_store(settings.service.inbox or StoreSettings(url=str(folder)))


def require_clip_files(store: Store) -> None:
    """Raise `LakeError` if a store has no clip at all: the disk of an inbox that has received some is not mounted."""
    if next(iter(store.list(CLIP_PREFIX)), None) is None:
        raise LakeError(
            f"the inbox {store.url} has no clip, and clips were received; mount its disk, or set service.inbox"
        )


def get_incoming_folder(settings: Settings) -> Path:
    """Return the folder for bodies that are being received, on the disk of the default store."""
    return settings.service_folder / "incoming"


def make_clip_key(clip_id: str) -> str:
    """Return a new key for a clip's file.

    Each attempt to store a clip has its own file. So an attempt that is refused deletes its file without a look at others.
    """
    return f"{CLIP_PREFIX}{clip_id[:2]}/{clip_id}-{secrets.token_hex(8)}"


def get_clip_id(key: str) -> str:
    """Return the id of the clip that a key was made for."""
    return key.rpartition("/")[2].rpartition("-")[0]
