"""The phone of the demo gets its model from the CDN: the folder of the releases behind a web server of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

from habla_ml.client.model_updates import ModelUpdater, UpdateClient

_INSTALLATION: Final = "phone of the demo"


@dataclass(frozen=True)
class PhoneUpdate:
    """What a look at the CDN changed on the phone."""

    before: str | None
    """Version of the model that the phone had."""
    after: str | None
    """Version that it has now."""
    received_bytes: int


def update_phone(releases: Path, folder: Path, channel: str) -> PhoneUpdate:
    """Install what a channel offers, if the keys that the phone trusts signed it.

    The phone's app carries the first document of keys. Before there is one, nothing was released.

    Raises:
        UntrustedReleaseError: What the folder has is not signed, old, or expired.
        DamagedDownloadError: A file differs from what is signed.
    """
    keys = releases / "keys" / "000001.json"
    if not keys.exists():
        return PhoneUpdate(None, None, 0)
    client = UpdateClient(_INSTALLATION, app_version="1.0", platform="ios", channel=channel)
    with (
        _serve_folder(releases) as address,
        closing(ModelUpdater(address, folder, client, keys.read_bytes())) as updater,
    ):
        before, offer = updater.state.current, updater.check()
        if offer is not None:
            updater.install(offer)
        after = updater.state.current
    return PhoneUpdate(
        None if before is None else before.version,
        None if after is None else after.version,
        0 if offer is None else offer.archive.size_bytes,
    )


@contextmanager
def _serve_folder(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port until the block ends; yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietRequestHandler, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _QuietRequestHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass
