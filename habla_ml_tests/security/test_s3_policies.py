"""The S3 policies: each role can do its work on a server that enforces them, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from habla_ml.backup.create import BackupRequest, create_backup
from habla_ml.cleanup.release_files import find_unreleased_files
from habla_ml.errors import LakeError
from habla_ml.inbox.clip_files import CLIP_PREFIX, make_clip_key
from habla_ml.lake import Lake, S3Store, Store, probe_conditional_writes
from habla_ml.release.channel import read_channel
from habla_ml.release.keys import create_keys
from habla_ml.release.moves import rollback
from habla_ml.release.publish import publish_release
from habla_ml.release.signing import generate_key
from habla_ml.settings import load_settings
from habla_ml_tests.testing.release_drafts import NOON, make_draft, make_release_files
from habla_ml_tests.testing.s3_clients import new_client
from habla_ml_tests.testing.s3_with_policies import BUCKETS, OWNER, POLICIES, serve_s3_with_policies
from habla_ml_tests.testing.small_lake import make_small_lake

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LAKE, CLIPS = "s3://habla-ml-lake/production", "s3://habla-clips/inbox"
CDN, BACKUP = "s3://habla-ml-cdn/models", "s3://habla-ml-backup/production"
RIGHTS = {
    # place: rights of the pipeline, the service, its rollback, the CDN, Label Studio, the backup, and its removal
    f"{LAKE}/objects/ab/abc": ("GPDA", "G", "", "", "", "G", ""),
    f"{LAKE}/pointers/splits/latest.json": ("GPDA", "G", "", "", "", "G", ""),
    f"{LAKE}/habla_ml-audio/2026-11-02/a.flac": ("GPDA", "", "", "", "G", "G", ""),
    f"{LAKE}/.probe/a": ("GPDA", "GPD", "", "", "", "GPD", ""),
    f"{CLIPS}/clips/ab/abc": ("GDA", "GPDA", "", "", "", "G", ""),
    f"{CLIPS}/.probe/a": ("GPD", "GPD", "", "", "", "GPD", ""),
    f"{CDN}/releases/v1/a.zip": ("GPDA", "G", "", "G", "", "G", ""),
    f"{CDN}/channels/stable/latest.json": ("GPA", "G", "P", "G", "", "G", ""),
    f"{CDN}/channels/stable/models/ios.json": ("GPDA", "G", "PD", "G", "", "G", ""),
    f"{CDN}/channels/stable/history/000001.json": ("GPA", "G", "P", "G", "", "G", ""),
    f"{CDN}/keys/000001.json": ("GPA", "G", "", "G", "", "G", ""),
    f"{CDN}/.probe/a": ("GPD", "GPD", "", "", "", "GPD", ""),
    f"{BACKUP}/a": ("", "", "", "", "", "GPA", "D"),
    f"{BACKUP}/.probe/a": ("", "", "", "", "", "GPDA", "D"),
    "s3://habla-ml-lake/another/objects/ab/abc": ("", "", "", "", "", "", ""),
    "s3://habla-ml-cdn/index.html": ("", "", "", "", "", "", ""),
    # of buckets: L lists objects, U unfinished uploads
    # The server ignores that Label Studio may list one folder only.
    "s3://habla-ml-lake": ("LU", "L", "", "", "L", "LU", ""),
    "s3://habla-clips": ("LU", "L", "", "", "", "LU", ""),
    "s3://habla-ml-cdn": ("LU", "L", "", "", "", "LU", ""),
    "s3://habla-ml-backup": ("", "", "", "", "", "LU", ""),
}
ROLES = ("pipeline", "service", "service_rollback", "cdn_origin", "label_studio", "backup", "backup_removal")


@pytest.fixture(scope="module")
def served_clients() -> Iterator[Mapping[str, S3Client]]:
    with serve_s3_with_policies() as found:
        yield found


@pytest.fixture
def clients(served_clients: Mapping[str, S3Client]) -> Iterator[Mapping[str, S3Client]]:
    """A client of each role; the buckets are empty."""
    yield served_clients
    for bucket in BUCKETS:
        for each in served_clients[OWNER].list_objects_v2(Bucket=bucket).get("Contents", []):
            served_clients[OWNER].delete_object(Bucket=bucket, Key=each["Key"])


def may(request: Callable[..., object], **options: object) -> bool:
    """Return whether the server lets a request pass, whatever its outcome is."""
    try:
        request(**options)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] != 403
    return True


def try_rights(client: S3Client, place: str) -> str:
    """Return the rights at a place that the server grants."""
    url = urlsplit(place)
    bucket = {"Bucket": url.netloc}
    if not url.path:
        requests = {"L": (client.list_objects_v2, bucket), "U": (client.list_multipart_uploads, bucket)}
    else:
        value = {**bucket, "Key": url.path[1:]}
        requests = {
            "G": (client.get_object, value),
            "P": (client.put_object, {**value, "Body": b"1"}),
            "D": (client.delete_object, value),
            "A": (client.abort_multipart_upload, {**value, "UploadId": "none"}),
        }
    return "".join(letter for letter, (request, options) in requests.items() if may(request, **options))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_exactly_its_rights(clients: Mapping[str, S3Client], role: str) -> None:
    column = ROLES.index(role)
    found = {place: try_rights(clients[role], place) for place in RIGHTS}
    assert found == {place: rights[column] for place, rights in RIGHTS.items()}


@pytest.mark.parametrize("role", ROLES)
def test_no_role_changes_buckets_versions_or_access(clients: Mapping[str, S3Client], role: str) -> None:
    client = clients[role]
    for bucket in BUCKETS:
        value = {"Bucket": bucket, "Key": "production/objects/ab/abc"}
        assert not may(client.put_bucket_policy, Bucket=bucket, Policy="{}")
        assert not may(client.delete_bucket, Bucket=bucket)
        assert not may(client.put_object_acl, **value, ACL="public-read")
        assert not may(client.delete_object, **value, VersionId="1")


def test_an_unknown_key_gets_nothing(clients: Mapping[str, S3Client]) -> None:
    stranger = new_client(clients[OWNER].meta.endpoint_url, ("AKIAIOSFODNN7EXAMPLE", "unknown"))
    assert {try_rights(stranger, place) for place in RIGHTS} == {""}


def open_role(clients: Mapping[str, S3Client], role: str, url: str) -> S3Store:
    """Open a store as `open_store` does, which tests conditional writes first."""
    place = urlsplit(url)
    probe_conditional_writes(clients[role], place.netloc, place.path)
    return S3Store(clients[role], place.netloc, place.path, part_bytes=5 << 20)


def put_clip(store: Store, content: bytes) -> str:
    """Store a clip as the service does; return its key."""
    key = make_clip_key("3f2b8c1e-9d41-4b7a-8a54-0c2f6f1d7e90")
    store.put_new(key, content, hashlib.sha256(content).hexdigest())
    return key


def test_the_pipeline_keeps_a_lake(clients: Mapping[str, S3Client], tmp_path: Path) -> None:
    lake = Lake(open_role(clients, "pipeline", LAKE), tmp_path / "cache")
    large = tmp_path / "model.bin"
    large.write_bytes(b"m" * (6 << 20))  # in parts
    stored = lake.put_file(large)
    assert lake.fetch_path(stored).read_bytes() == large.read_bytes()
    lake.move_pointer("splits/latest", {"format": 1, "snapshot": stored}, None)
    assert [each.sha256 for each in lake.list_objects()] == [stored]
    assert lake.delete_unfinished(datetime.now(UTC)) == 0
    assert lake.delete_pointer("splits/latest")
    assert lake.delete_objects([stored]) == 1


def test_the_pipeline_renews_a_value_that_is_put_again(
    clients: Mapping[str, S3Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_role(clients, "pipeline", LAKE)
    assert store.put_if_absent("objects/ab/renewed", b"1")
    monkeypatch.setattr("habla_ml.lake.s3.RENEWED_AFTER", timedelta(-1))
    assert not store.put_if_absent("objects/ab/renewed", b"1")
    assert store.delete("objects/ab/renewed")


def test_releases_are_published_by_one_role_and_read_by_the_others(
    clients: Mapping[str, S3Client], tmp_path: Path
) -> None:
    store, root, release = open_role(clients, "pipeline", CDN), generate_key(), generate_key()
    create_keys(store, root, release, NOON)
    for version in ("v1", "v2"):
        files = make_release_files(tmp_path, version)
        publish_release(store, None, "stable", make_draft(version), files, NOON, tmp_path)
    assert store.put_if_absent("releases/v3/left.zip", b"1")
    leftovers = find_unreleased_files(store, datetime.now(UTC), timedelta(-1)).due
    assert [(each.name, each.remove()) for each in leftovers] == [("releases/v3/left.zip", True)]

    origin = S3Store(clients["cdn_origin"], "habla-ml-cdn", "models")
    current = read_channel(store, "stable").current
    assert current is not None
    assert all(origin.read(each.key) for each in current.models.values())
    assert read_channel(open_role(clients, "backup", CDN), "stable").current == current

    service = open_role(clients, "service", CDN)
    assert read_channel(service, "stable").current == current
    with pytest.raises(LakeError, match=r"cannot write .*AccessDenied.*s3:PutObject"):
        rollback(service, "stable")
    assert rollback(store, "stable").model_version == "v1"


def test_the_service_receives_clips_and_the_pipeline_erases_them(
    clients: Mapping[str, S3Client], tmp_path: Path
) -> None:
    received = open_role(clients, "service", CLIPS)
    key = put_clip(received, b"a clip")
    assert received.delete(put_clip(received, b"the same clip at once"))

    read = open_role(clients, "pipeline", CLIPS)
    assert [each.key for each in read.list(CLIP_PREFIX)] == [key]
    read.fetch(key, tmp_path / "clip")
    assert read.delete(key)
    assert read.delete_unfinished(datetime.now(UTC)) == 0


def test_the_service_reads_the_lake_and_cannot_change_it(clients: Mapping[str, S3Client], tmp_path: Path) -> None:
    written = Lake(open_role(clients, "pipeline", LAKE), tmp_path / "pipeline")
    report = written.put_bytes(b"a report")
    written.move_pointer("splits/latest", {"format": 1, "snapshot": report}, None)

    lake = Lake(open_role(clients, "service", LAKE), tmp_path / "service")
    found = lake.read_pointer("splits/latest")
    assert found is not None
    assert lake.get_bytes(found.value["snapshot"]) == b"a report"
    assert lake.read_pointer("splits/none") is None  # 404 and not 403, because it may list the bucket
    with pytest.raises(LakeError, match="AccessDenied"):
        lake.put_bytes(b"another")
    with pytest.raises(LakeError, match="AccessDenied"):
        lake.move_pointer("splits/latest", {"format": 1}, found)
    with pytest.raises(LakeError, match="AccessDenied"):
        lake.delete_pointer("splits/latest")
    assert written.delete_pointer("splits/latest")


def test_the_backup_copies_and_removes_nothing(clients: Mapping[str, S3Client]) -> None:
    open_role(clients, "pipeline", LAKE).put_if_absent("objects/ab/kept", b"1")
    source, target = open_role(clients, "backup", LAKE), open_role(clients, "backup", BACKUP)
    for entry in list(source.list("objects/")):
        target.put_if_absent(entry.key, source.read(entry.key))
    assert target.read("objects/ab/kept") == b"1"
    for store in (source, target):
        with pytest.raises(LakeError, match="AccessDenied"):
            store.delete("objects/ab/kept")


def test_the_backup_command_needs_no_right_to_delete(clients: Mapping[str, S3Client], tmp_path: Path) -> None:
    small_lake = make_small_lake(tmp_path, open_role(clients, "pipeline", LAKE))
    source, target = open_role(clients, "backup", LAKE), open_role(clients, "backup", BACKUP)
    request = BackupRequest(Lake(source, tmp_path / "cache"), source, target, small_lake.work_folder, {})
    assert create_backup(request, NOON).copied == 7
    small_lake.write_day("2026-02-16", "Adiós")
    assert create_backup(request, NOON + timedelta(days=1)).copied == 1
    with pytest.raises(LakeError, match="AccessDenied"):
        create_backup(replace(request, keep=1), NOON + timedelta(days=2))


def test_the_policies_fit_the_settings_of_the_production_profile() -> None:
    settings = load_settings("production")
    assert (settings.lake.url, settings.release.store.url) == (LAKE, CDN)
    named = {role: json.loads((POLICIES / f"{role}.json").read_text()) for role in ROLES}
    assert sorted(path.stem for path in POLICIES.glob("*.json")) == sorted((*named, "pipeline_cloudfront"))
