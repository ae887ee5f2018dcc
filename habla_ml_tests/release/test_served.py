"""A phone downloads the channel from a web server and compares the files."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urljoin

import pytest

from habla_ml.lake import DirectoryStore
from habla_ml.release.manifest import ReleaseDraft
from habla_ml.release.moves import rollback
from habla_ml.release.publish import publish_release
from habla_ml_tests.testing.file_server import serve_folder
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Serve the release store at an address."""
    with serve_folder(tmp_path / "cdn") as found:
        yield found


def fetch_bytes(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (the server of this test)
        data: bytes = answer.read()
    return data


def download(address: str) -> tuple[str, bytes]:
    """Return the version and the verified archive of the channel."""
    latest = f"{address}/channels/stable/latest.json"
    pointer = json.loads(fetch_bytes(latest))
    offered = pointer["models"]["ios"]
    archive = fetch_bytes(urljoin(latest, offered["url"]))
    assert (len(archive), hashlib.sha256(archive).hexdigest()) == (offered["size_bytes"], offered["sha256"])
    manifest_url = urljoin(latest, pointer["manifest_url"])
    manifest = json.loads(fetch_bytes(manifest_url))
    assert hashlib.sha256(fetch_bytes(manifest_url)).hexdigest() == pointer["manifest_sha256"]
    for each in manifest["archives"]:
        assert hashlib.sha256(fetch_bytes(urljoin(manifest_url, each["url"]))).hexdigest() == each["sha256"]
    return pointer["version"], archive


@pytest.mark.parametrize("public", [True, False])
def test_a_phone_downloads_what_the_channel_names(
    tmp_path: Path, address: str, draft: ReleaseDraft, files: Mapping[str, Path], public: bool
) -> None:
    store = DirectoryStore(tmp_path / "cdn")
    earlier = make_release_files(tmp_path / "files", "v1")
    publish_release(store, address if public else None, "stable", make_draft("v1"), earlier)
    released = publish_release(store, address if public else None, "stable", draft, files)
    assert released.models["ios"].url.startswith(address) is public
    assert download(address) == (released.version, files["coreml"].read_bytes())
    before = rollback(store, "stable")
    assert download(address) == (before.version, earlier["coreml"].read_bytes())
