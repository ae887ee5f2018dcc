"""Update the model of a device from a CDN: only what is signed, complete and newer, and never to a broken state."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

import httpx

from habla_ml.client.channel_statement import (
    ChannelStatement,
    ReceivedManifest,
    StatedArchive,
    read_received_manifest,
    read_statement,
)
from habla_ml.client.installed_models import DeviceState, InstalledModel, InstalledModels
from habla_ml.client.problems import DamagedDownloadError, ServiceUnreachableError
from habla_ml.client.trusted_keys import follow_keys, get_keys_path, read_keys_document
from habla_ml.client.unpack import hash_file
from habla_ml.client.updates import is_app_new_enough, is_in_rollout

_LARGEST_DOCUMENT_BYTES: Final = 4_000_000
_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True)
class UpdateClient:
    """Who asks for updates."""

    installation: str
    """An id of the device that never changes, for the rollout."""
    app_version: str
    platform: str
    channel: str = "stable"


@dataclass(frozen=True)
class OfferedUpdate:
    """A model to install, verified but not loaded yet."""

    statement: ChannelStatement
    archive: StatedArchive


class ModelUpdater:
    """Keeps the model in a folder up to date. It holds the folder's lock until `close`, and may be killed at any point.

    Args:
        address: Of the root of the CDN, with a final slash.
        folder: For the models of the device.
        client: Who asks.
        shipped_keys: The document of keys that the app carries, the first one or a later one.
        read_clock: Returns the present time.
        http: For tests and proxies; default a client of its own.
    """

    def __init__(
        self,
        address: str,
        folder: Path,
        client: UpdateClient,
        shipped_keys: bytes,
        read_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        http: httpx.Client | None = None,
    ) -> None:
        self._address = address if address.endswith("/") else f"{address}/"
        self._client = client
        self._read_clock = read_clock
        self._http = http or httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True)
        signed, keys = read_keys_document(shipped_keys)
        self.models = InstalledModels(folder)
        found = self.models.read_state()
        if found is None or read_keys_document(found.keys.model_dump_json())[1].version < keys.version:
            known = {} if found is None else {name: getattr(found, name) for name in DeviceState.model_fields}
            found = DeviceState(**{**known, "keys": signed, "known_time": known.get("known_time", keys.created)})
        self.state = found
        self.models.remove_leftovers(found)

    def close(self) -> None:
        """Close the connection, and leave the folder to others."""
        self._http.close()
        self.models.close()

    @property
    def model_folder(self) -> Path | None:
        """The folder of the present model; None before the first update."""
        return None if self.state.current is None else self.models.find_folder(self.state.current)

    def check(self) -> OfferedUpdate | None:
        """Return the model to install, or None if the device has it, waits for its share, or cannot load it.

        Raises:
            UntrustedReleaseError: What the CDN serves is not signed, old, or expired.
            ServiceUnreachableError: No answer came.
        """
        now = self._read_time()
        keys = follow_keys(self.state.keys, lambda version: self._fetch(get_keys_path(version)), now)
        data = self._fetch(f"channels/{self._client.channel}/latest.json")
        if data is None:
            self._save(keys=keys)
            return None
        _, trusted = read_keys_document(keys.model_dump_json())
        statement = read_statement(data, trusted, self._client.channel, now, self.state.sequence)
        self._save(keys=keys, sequence=statement.sequence, known_time=max(self.state.known_time, statement.signed_at))
        archive = statement.models.get(self._client.platform)
        if archive is None or not self._wants(statement, archive):
            return None
        return OfferedUpdate(statement, archive)

    def install(self, offer: OfferedUpdate) -> Path:
        """Download, verify and unpack a model, make it the present one, and return its folder.

        A download that was cut off goes on where it ended.

        Raises:
            DamagedDownloadError: What came differs from what is signed; the present model stays.
            UntrustedReleaseError: The manifest does not belong to the archive.
            ServiceUnreachableError: The connection failed; call again.
        """
        statement, archive, earlier = offer.statement, offer.archive, self.state.previous
        if earlier is not None and earlier.sha256 == archive.sha256:
            self._save(current=earlier, previous=self.state.current)
            return self.models.find_folder(earlier)
        base = urljoin(self._address, f"channels/{self._client.channel}/latest.json")
        manifest = self._fetch_manifest(urljoin(base, statement.manifest_url), statement.manifest_sha256)
        files = manifest.find_files(archive.sha256)
        path = self._download(urljoin(base, archive.url), archive)
        model = InstalledModel(
            name=f"{statement.version}-{archive.sha256[:12]}",
            version=statement.version,
            number=statement.number,
            sha256=archive.sha256,
        )
        folder = self.models.unpack(path, files, model, self.model_folder)
        self._save(current=model, previous=self.state.current)
        return folder

    def reject_current(self) -> Path | None:
        """Return to the previous model, because the present one does not load here; it is not installed again."""
        broken = self.state.current
        if broken is not None:
            self._save(current=self.state.previous, previous=None, broken=(*self.state.broken, broken.sha256))
        return self.model_folder

    def _read_time(self) -> datetime:
        """Return the device's time, or that of the latest signature seen if the clock is behind it."""
        return max(self._read_clock(), self.state.known_time)

    def _wants(self, statement: ChannelStatement, archive: StatedArchive) -> bool:
        current = self.state.current
        if archive.sha256 in self.state.broken or (current is not None and current.sha256 == archive.sha256):
            return False
        if not is_app_new_enough(self._client.app_version, statement.minimum_app_version):
            return False
        return is_in_rollout(self._client.installation, statement.version, statement.rollout_percent)

    def _save(self, **changes: object) -> None:
        state = self.state.model_copy(update=changes)
        if state != self.state or self.models.read_state() is None:
            self.models.write_state(state)
            self.state = state

    def _fetch(self, path: str) -> bytes | None:
        """Return a small document below the root of the CDN, or None if there is none."""
        return self._fetch_url(urljoin(self._address, path))

    def _fetch_url(self, url: str) -> bytes | None:
        data = bytearray()
        try:
            with self._http.stream("GET", url) as answer:
                # S3 answers 403 for a missing object to whom it does not list the bucket.
                if answer.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
                    return None
                answer.raise_for_status()
                for part in answer.iter_bytes():
                    data += part
                    if len(data) > _LARGEST_DOCUMENT_BYTES:
                        raise DamagedDownloadError(f"a document has more than {_LARGEST_DOCUMENT_BYTES:,} bytes")
        except httpx.HTTPError as error:
            raise ServiceUnreachableError(f"the CDN does not answer ({type(error).__name__}); try later") from error
        return bytes(data)

    def _fetch_manifest(self, url: str, sha256: str) -> ReceivedManifest:
        data = self._fetch_url(url)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            raise DamagedDownloadError(f"the manifest {sha256[:12]} is missing or damaged; try again later")
        return read_received_manifest(data, sha256)

    def _download(self, url: str, archive: StatedArchive) -> Path:
        path = self.models.downloads / archive.sha256
        for each in self.models.downloads.iterdir():
            if each != path:
                each.unlink()
        have = path.stat().st_size if path.exists() else 0
        if have < archive.size_bytes:
            self._append(url, path, have, archive.size_bytes)
        found = hash_file(path)
        if found != archive.sha256:
            path.unlink()
            raise DamagedDownloadError(
                f"the archive has the sha256 {found[:12]} instead of {archive.sha256[:12]}; try again"
            )
        return path

    def _append(self, url: str, path: Path, have: int, size_bytes: int) -> None:
        headers = {"Range": f"bytes={have}-"} if have else {}
        try:
            with self._http.stream("GET", url, headers=headers) as answer:
                answer.raise_for_status()
                resumes = answer.status_code == HTTPStatus.PARTIAL_CONTENT
                received = have if resumes else 0
                with path.open("ab" if resumes else "wb") as out:
                    for part in answer.iter_raw():
                        received += len(part)
                        if received > size_bytes:
                            break
                        out.write(part)
        except httpx.HTTPError as error:
            raise ServiceUnreachableError(f"the download was cut off ({type(error).__name__}); try later") from error
        if received != size_bytes:
            path.unlink()
            raise DamagedDownloadError(f"the archive has other than {size_bytes:,} bytes; try again later")
