"""A release store that is served as a CDN, and a device that updates its model from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from habla_ml.client.model_updates import ModelUpdater, UpdateClient
from habla_ml.client.trusted_keys import get_keys_path
from habla_ml.lake import DirectoryStore
from habla_ml.release.channel import Delivery
from habla_ml.release.keys import create_keys
from habla_ml.release.publish import publish_release
from habla_ml.release.signing import Signing, generate_key
from habla_ml_tests.testing.release_drafts import NOON, make_draft, make_release_files

LATEST: Final = "channels/stable/latest.json"
DAY: Final = timedelta(days=1)


class ReleaseOrigin:
    """A release store with its keys, served as a CDN."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cdn = folder / "cdn"
        self.store = DirectoryStore(self.cdn)
        self.root, self.key = generate_key(), generate_key()
        create_keys(self.store, self.root, self.key, NOON)
        self.shipped = self.store.read(get_keys_path(1))

    @property
    def signing(self) -> Signing:
        return Signing((self.key,), 90 * DAY)

    def publish(self, version: str, channel: str = "stable", now: datetime = NOON, **delivery: Any) -> None:
        files = make_release_files(self.folder / "files", version)
        publish_release(
            self.store, None, channel, make_draft(version), files, now, None, Delivery(**delivery), self.signing
        )

    def replace(self, path: str, change: Callable[[bytes], bytes]) -> None:
        place = self.cdn / path
        data = change(place.read_bytes())
        place.unlink()
        place.write_bytes(data)


class PhoneUnderTest:
    """A device with a model folder and a clock."""

    def __init__(self, folder: Path, address: str, shipped: bytes) -> None:
        self.folder, self.address, self.shipped, self.now = folder, address, shipped, NOON + DAY
        self.updater: ModelUpdater | None = None
        self.open()

    def close(self) -> None:
        if self.updater is not None:
            self.updater.close()

    def open(self, **client: Any) -> None:
        """Start the app again."""
        self.close()
        who = UpdateClient(**{"installation": "d-1", "app_version": "1.4", "platform": "habla", **client})
        self.updater = ModelUpdater(self.address, self.folder, who, self.shipped, lambda: self.now)

    def update(self) -> str | None:
        """Install what is offered; return the version of the model that the device then has."""
        offer = self.updater.check()
        if offer is not None:
            self.updater.install(offer)
        return self.read_version()

    def read_version(self) -> str | None:
        """Return the version that the present model itself states, after its files are read."""
        folder = self.updater.model_folder
        if folder is None:
            return None
        found: str = json.loads((folder / "config.json").read_text())["model"]
        assert (folder / "sub" / "weights.bin").read_bytes() == f"ctranslate2 {found}".encode() * 1000
        return found
