"""Killed at any step of a release or a rollback, the channel names something complete, and a rerun completes."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from habla_ml.lake import DirectoryStore, S3Store, Store
from habla_ml.release.manifest import ReleaseDraft, ReleaseManifest
from habla_ml.release.publish import list_releases, publish_release, rollback
from habla_ml_tests.lake.conftest import BUCKET, new_client
from habla_ml_tests.lake.killing import run_killed, watch_files, watch_requests
from habla_ml_tests.release.conftest import NOON, draft_of, files_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Step = Callable[[], None]


@pytest.fixture(autouse=True)
def _temporary_files_go_with_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process leaves its temporary folder; not in the system's."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def channel_of(store: Store) -> str | None:
    """The version the channel stands at, after everything its pointer names was downloaded and compared."""
    found = store.read_versioned("channels/stable/latest.json")
    if found is None:
        return None
    pointer = json.loads(found.data)
    archive, manifest = store.read(pointer["key"]), store.read(pointer["manifest_key"])
    assert (len(archive), hashlib.sha256(archive).hexdigest()) == (pointer["size_bytes"], pointer["sha256"])
    assert hashlib.sha256(manifest).hexdigest() == pointer["manifest_sha256"]
    for each in ReleaseManifest.model_validate_json(manifest).archives:
        assert hashlib.sha256(store.read(each.key)).hexdigest() == each.sha256
    return str(pointer["version"])


@pytest.mark.slow
def test_killed_before_any_step_of_a_release_into_a_folder(
    tmp_path: Path, draft: ReleaseDraft, files: Mapping[str, Path]
) -> None:
    earlier, step, states = files_of(tmp_path / "files", "v1"), 1, []

    def work(before_step: Step) -> None:
        watch_files(before_step)
        publish_release(DirectoryStore(root), None, "stable", draft, files, NOON)

    publish_release(DirectoryStore(tmp_path / "before"), None, "stable", draft_of("v1"), earlier, NOON)
    while True:
        root = Path(shutil.copytree(tmp_path / "before", tmp_path / f"cdn{step}"))
        if not run_killed(work, step):
            break
        store = DirectoryStore(root)
        states.append(channel_of(store))
        again = publish_release(store, None, "stable", draft, files, NOON)
        assert again.current
        assert channel_of(store) == again.version == "2026.11.21-v2"
        assert [each.number for each in list_releases(store, "stable")] == [2, 1]
        assert len(list(store.list("releases/v2/"))) == 3
        step += 1
    assert states == sorted(states)
    assert set(states) == {"2026.11.21-v1", "2026.11.21-v2"}
    assert channel_of(DirectoryStore(root)) == "2026.11.21-v2"


@pytest.mark.slow
def test_killed_before_any_step_of_a_rollback_in_a_folder(tmp_path: Path) -> None:
    step, states = 1, []

    def work(before_step: Step) -> None:
        watch_files(before_step)
        rollback(DirectoryStore(root), "stable", "v1", NOON)

    for version in ("v1", "v2"):
        files = files_of(tmp_path / "files", version)
        publish_release(DirectoryStore(tmp_path / "before"), None, "stable", draft_of(version), files, NOON)
    while True:
        root = Path(shutil.copytree(tmp_path / "before", tmp_path / f"cdn{step}"))
        if not run_killed(work, step):
            break
        states.append(channel_of(DirectoryStore(root)))
        rollback(DirectoryStore(root), "stable", "v1", NOON)
        assert channel_of(DirectoryStore(root)) == "2026.11.21-v1"
        assert [each.number for each in list_releases(DirectoryStore(root), "stable")] == [2, 1]
        step += 1
    assert set(states) == {"2026.11.21-v1", "2026.11.21-v2"}


@pytest.mark.slow
def test_killed_before_any_request_of_a_release_to_s3(
    s3_endpoint: str, s3_client: S3Client, tmp_path: Path, files: Mapping[str, Path]
) -> None:
    draft, before = (
        each.model_copy(update={"archives": each.archives[:1]}) for each in map(draft_of, ("v2", "v1"))
    )
    files, step, states = {"coreml": files["coreml"]}, 1, []
    earlier = {"coreml": files_of(tmp_path / "files", "v1")["coreml"]}

    def work(before_step: Step) -> None:
        watch_requests(unused, before_step)
        publish_release(S3Store(unused, BUCKET, prefix), None, "stable", draft, files, NOON)

    while True:
        unused, prefix = new_client(s3_endpoint), f"killed/{uuid.uuid4().hex}"
        store = S3Store(s3_client, BUCKET, prefix)
        publish_release(store, None, "stable", before, earlier, NOON)
        if not run_killed(work, step):
            break
        states.append(channel_of(store))
        assert publish_release(store, None, "stable", draft, files, NOON).version == "2026.11.21-v2"
        assert channel_of(store) == "2026.11.21-v2"
        assert [each.number for each in list_releases(store, "stable")] == [2, 1]
        step += 1
    assert states == sorted(states)
    assert set(states) == {"2026.11.21-v1", "2026.11.21-v2"}
