"""Where the inbox keeps the files of the clips, as they were sent: a store, one value a clip."""

from __future__ import annotations

from typing import Final

from habla_ml.lake import Store
from habla_ml.lake.factory import open_store
from habla_ml.settings import Settings, StoreSettings

CLIP_PREFIX: Final = "clips/"


def open_clip_store(settings: Settings) -> Store:
    """Open the store of a deployment's clips; raises the errors of `open_store`."""
    folder = settings.service_folder / "inbox"
    return open_store(settings.service.inbox or StoreSettings(url=str(folder)))


def get_clip_key(clip_id: str) -> str:
    """Return the key of a clip's file."""
    return f"{CLIP_PREFIX}{clip_id}"
