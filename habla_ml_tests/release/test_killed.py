"""After a kill at any step of a release or rollback, the channel names complete files, and a rerun finishes."""

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
from habla_ml.release.moves import rollback
from habla_ml.release.publish import publish_release
from habla_ml.release.published import list_releases
from habla_ml_tests.testing.process_kill import hook_file_calls, hook_s3_requests, run_until_killed
from habla_ml_tests.testing.release_drafts import NOON, make_draft, make_release_files
from habla_ml_tests.testing.s3_clients import BUCKET, new_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Step = Callable[[], None]


@pytest.fixture(autouse=True)
def use_test_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the temporary folders of killed processes in that of the test."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def read_verified_version(store: Store) -> str | None:
    """Return the version of the channel after downloading and comparing all of its files."""
    found = store.read_versioned("channels/stable/latest.json")
    if found is None:
        return None
    pointer = json.loads(found.data)
    manifest = store.read(pointer["manifest_key"])
    for each in pointer["models"].values():
        archive = store.read(each["key"])
        assert (len(archive), hashlib.sha256(archive).hexdigest()) == (each["size_bytes"], each["sha256"])
    assert hashlib.sha256(manifest).hexdigest() == pointer["manifest_sha256"]
    for listed in ReleaseManifest.model_validate_json(manifest).archives:
        assert hashlib.sha256(store.read(listed.key)).hexdigest() == listed.sha256
    return str(pointer["version"])


@pytest.mark.slow
def test_a_release_into_a_folder_killed_at_any_step_completes_on_the_next_run(
    tmp_path: Path, draft: ReleaseDraft, files: Mapping[str, Path]
) -> None:
    earlier, step, states = make_release_files(tmp_path / "files", "v1"), 1, []

    def work(before_step: Step) -> None:
        hook_file_calls(before_step)
        publish_release(DirectoryStore(root), None, "stable", draft, files, NOON)

    publish_release(DirectoryStore(tmp_path / "before"), None, "stable", make_draft("v1"), earlier, NOON)
    while True:
        root = Path(shutil.copytree(tmp_path / "before", tmp_path / f"cdn{step}"))
        if not run_until_killed(work, step):
            break
        store = DirectoryStore(root)
        states.append(read_verified_version(store))
        again = publish_release(store, None, "stable", draft, files, NOON)
        assert again.is_current
        assert read_verified_version(store) == again.version == "2026.11.21-v2"
        assert [each.number for each in list_releases(store, "stable")] == [2, 1]
        assert len(list(store.list("releases/v2/"))) == 3
        step += 1
    assert states == sorted(states)
    assert set(states) == {"2026.11.21-v1", "2026.11.21-v2"}
    assert read_verified_version(DirectoryStore(root)) == "2026.11.21-v2"


@pytest.mark.slow
def test_a_rollback_in_a_folder_killed_at_any_step_completes_on_the_next_run(tmp_path: Path) -> None:
    step, states = 1, []

    def work(before_step: Step) -> None:
        hook_file_calls(before_step)
        rollback(DirectoryStore(root), "stable", "v1", NOON)

    for version in ("v1", "v2"):
        files = make_release_files(tmp_path / "files", version)
        publish_release(DirectoryStore(tmp_path / "before"), None, "stable", make_draft(version), files, NOON)
    while True:
        root = Path(shutil.copytree(tmp_path / "before", tmp_path / f"cdn{step}"))
        if not run_until_killed(work, step):
            break
        states.append(read_verified_version(DirectoryStore(root)))
        rollback(DirectoryStore(root), "stable", "v1", NOON)
        assert read_verified_version(DirectoryStore(root)) == "2026.11.21-v1"
        assert [each.number for each in list_releases(DirectoryStore(root), "stable")] == [2, 1]
        step += 1
    assert set(states) == {"2026.11.21-v1", "2026.11.21-v2"}


@pytest.mark.slow
def test_a_release_to_s3_killed_at_any_request_completes_on_the_next_run(
    s3_endpoint: str, s3_client: S3Client, tmp_path: Path, files: Mapping[str, Path]
) -> None:
    draft, before = (each.model_copy(update={"archives": each.archives[:1]}) for each in map(make_draft, ("v2", "v1")))
    files, step, states = {"coreml": files["coreml"]}, 1, []
    earlier = {"coreml": make_release_files(tmp_path / "files", "v1")["coreml"]}

    def work(before_step: Step) -> None:
        hook_s3_requests(unused, before_step)
        publish_release(S3Store(unused, BUCKET, prefix), None, "stable", draft, files, NOON)

    while True:
        unused, prefix = new_client(s3_endpoint), f"killed/{uuid.uuid4().hex}"
        store = S3Store(s3_client, BUCKET, prefix)
        publish_release(store, None, "stable", before, earlier, NOON)
        if not run_until_killed(work, step):
            break
        states.append(read_verified_version(store))
        assert publish_release(store, None, "stable", draft, files, NOON).version == "2026.11.21-v2"
        assert read_verified_version(store) == "2026.11.21-v2"
        assert [each.number for each in list_releases(store, "stable")] == [2, 1]
        step += 1
    assert states == sorted(states)
    assert set(states) == {"2026.11.21-v1", "2026.11.21-v2"}
