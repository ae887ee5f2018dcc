"""The S3 store: endpoints without conditional writes, conflicts, lost answers, unreachable and missing buckets."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.lake import Lake, S3Store, open_lake, open_store, probe_conditional_writes
from habla_ml.settings import StoreSettings
from habla_ml_tests.testing.process_kill import hook_s3_requests, run_until_killed
from habla_ml_tests.testing.s3_clients import BUCKET, new_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def prefix() -> str:
    return f"tests/{uuid.uuid4().hex}"


@pytest.fixture
def store(s3_client: S3Client, prefix: str) -> S3Store:
    return S3Store(s3_client, BUCKET, prefix, part_bytes=5 << 20)


def test_an_endpoint_with_conditional_writes_passes_the_probe(s3_client: S3Client, store: S3Store, prefix: str) -> None:
    probe_conditional_writes(s3_client, BUCKET, prefix)
    assert s3_client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["KeyCount"] == 0


@pytest.mark.parametrize(
    ("bucket", "fault"),
    [
        ("ignores-if-none-match", "overwrote the first"),
        ("ignores-if-match", "overwrote a newer value"),
        ("revives-deleted", "stored a value that was deleted"),
        ("refuses-everything-conditional", r"a first put with If-None-Match: \* was refused"),
    ],
)
def test_an_endpoint_without_conditional_writes_is_refused(
    s3_client: S3Client, s3_endpoint: str, bucket: str, fault: str, tmp_path: Path
) -> None:
    with pytest.raises(LakeError, match=fault) as refusal:
        open_lake(StoreSettings(url=f"s3://{bucket}/lake"), tmp_path, s3_client)
    assert s3_endpoint in str(refusal.value)
    assert "AWS S3" in str(refusal.value)


def test_a_store_opens_without_the_right_to_delete(s3_client: S3Client) -> None:
    open_store(StoreSettings(url="s3://forbids-delete/lake"), s3_client)
    assert list(open_store(StoreSettings(url="s3://forbids-delete"), s3_client).list("")) == []
    left = s3_client.list_objects_v2(Bucket="forbids-delete")["Contents"]
    assert {each["Key"].partition("/")[0] for each in left} <= {".probe", "lake", "rooted"}


def test_listings_hide_the_probe_at_the_root_of_a_bucket(s3_client: S3Client) -> None:
    s3_client.put_object(Bucket="forbids-delete", Key="rooted/.probe/left", Body=b"4")
    assert list(S3Store(s3_client, "forbids-delete", "rooted").list("")) == []


@pytest.mark.parametrize(("given", "start"), [("", ""), ("/", ""), ("a", "a/"), ("/a/b/", "a/b/")])
def test_values_are_below_the_prefix_and_nowhere_else(s3_client: S3Client, given: str, start: str) -> None:
    store, key = S3Store(s3_client, BUCKET, given), f"{uuid.uuid4().hex}/value"
    store.put_if_absent(key, b"x")
    assert s3_client.get_object(Bucket=BUCKET, Key=f"{start}{key}")["Body"].read() == b"x"
    assert [each.key for each in store.list(key)] == [key]
    assert store.delete(key)


def test_a_missing_bucket_is_an_error_with_the_next_step(s3_client: S3Client) -> None:
    with pytest.raises(LakeError, match=r"s3://no-such-bucket/.*NoSuchBucket.*create the bucket"):
        open_store(StoreSettings(url="s3://no-such-bucket/lake"), s3_client)


@pytest.mark.parametrize("url", ["gs://bucket/lake", "http://somewhere/lake", "file:///lake"])
def test_an_unknown_scheme_is_an_error_with_the_known_ones(url: str) -> None:
    with pytest.raises(LakeError, match=r"use a folder or s3://bucket/prefix"):
        open_store(StoreSettings(url=url))


@pytest.mark.parametrize("url", ["s3://", "s3:///lake", "s3://Bucket_/lake"])
def test_an_invalid_bucket_name_is_an_error(url: str) -> None:
    with pytest.raises(LakeError, match="not a valid bucket name"):
        open_store(StoreSettings(url=url))


def test_missing_credentials_are_an_error_with_the_variables_to_set(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    settings = StoreSettings(url=f"s3://{BUCKET}/lake", endpoint_url=s3_endpoint, region="eu-west-1")
    with pytest.raises(LakeError, match=r"Unable to locate credentials.*AWS_PROFILE"):
        open_store(settings)


def test_a_store_opens_from_settings_and_the_environment(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, prefix: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    settings = StoreSettings(url=f"s3://{BUCKET}/{prefix}/", endpoint_url=s3_endpoint, region="us-east-1")
    lake = open_lake(settings, tmp_path / "cache")
    assert lake.url == f"s3://{BUCKET}/{prefix}"
    assert lake.get_bytes(lake.put_bytes(b"hola")) == b"hola"


def test_an_unreachable_endpoint_is_an_error_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    settings = StoreSettings(url=f"s3://{BUCKET}/lake", endpoint_url="http://127.0.0.1:9", region="us-east-1")
    with pytest.raises(LakeError, match=r"http://127.0.0.1:9.*check endpoint_url"):
        open_store(settings)


def test_an_answer_of_the_endpoint_is_told_with_the_next_step() -> None:
    client: S3Client = boto3.Session("id", "secret", region_name="us-east-1").client("s3")
    needs = "the credentials need s3:GetObject, s3:PutObject and s3:ListBucket there"
    for code, remedy in (
        ("AccessDenied", needs),
        ("403", needs),
        ("InvalidAccessKeyId", "set AWS_PROFILE or AWS_ACCESS_KEY_ID to credentials of this endpoint"),
        ("SignatureDoesNotMatch", "set AWS_SECRET_ACCESS_KEY to the secret of this access key"),
        ("BadDigest", "the transfer broke; run the stage again"),
        ("SlowDown", "read the endpoint's log, then run the stage again"),
    ):
        stub = Stubber(client)
        stub.add_client_error("get_object", code, "Not so.")
        with stub, pytest.raises(LakeError, match=f"{code} Not so.; {remedy}"):
            S3Store(client, "bucket").read("a")


def test_every_call_on_a_deleted_bucket_is_an_error(s3_client: S3Client, tmp_path: Path) -> None:
    store = S3Store(s3_client, "gone-bucket", "lake")
    calls: list[Any] = [
        lambda: store.put_if_absent("a", b"x"),
        lambda: store.read("a"),
        lambda: store.compare_and_set("a", b"x", None),
        lambda: store.compare_and_set("a", b"x", '"tag"'),
        lambda: list(store.list("")),
    ]
    for call in calls:
        with pytest.raises(LakeError, match="NoSuchBucket") as failure:
            call()
        assert not isinstance(failure.value, PointerMovedError)


@pytest.mark.parametrize("size_bytes", [3, 11 << 20])
def test_a_put_is_retried_after_a_conflict(store: S3Store, tmp_path: Path, size_bytes: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * size_bytes)
    assert store.put_if_absent("answers-409-twice", source) is True
    assert store.read("answers-409-twice") == source.read_bytes()


def test_a_move_is_retried_after_a_conflict(store: S3Store) -> None:
    tag = store.compare_and_set("pointer", b"1", None)
    assert store.compare_and_set("answers-409-twice/pointer", b"1", None) == tag


def test_a_write_with_a_lost_answer_counts_as_done(store: S3Store) -> None:
    assert store.put_if_absent("loses-an-answer/value", b"x") is True
    tag = store.compare_and_set("loses-an-answer/pointer", b"1", None)
    seen = store.read_versioned("loses-an-answer/pointer")
    assert seen is not None
    assert (seen.data, seen.tag) == (b"1", tag)
    with pytest.raises(PointerMovedError):
        store.compare_and_set("loses-an-answer/pointer", b"1", None)


def test_an_upload_that_is_completed_again_after_a_lost_answer_counts_as_done(store: S3Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * (6 << 20))
    assert store.put_if_absent("forgets-uploads", source) is True
    assert store.read("forgets-uploads") == source.read_bytes()


def test_only_uploads_that_were_begun_before_are_aborted(s3_client: S3Client, tmp_path: Path) -> None:
    store, other = (
        Lake(S3Store(s3_client, BUCKET, f"unfinished/{name}"), tmp_path / name) for name in ("ours", "other")
    )
    for name in ("unfinished/ours/objects/a", "unfinished/other/objects/b"):
        s3_client.create_multipart_upload(Bucket=BUCKET, Key=name)
    uploads = s3_client.list_multipart_uploads(Bucket=BUCKET, Prefix="unfinished/")["Uploads"]
    begun = max(each["Initiated"] for each in uploads)  # this server gives every upload the same time
    assert store.delete_unfinished(begun) == 0
    assert store.delete_unfinished(begun + timedelta(days=1)) == 1
    assert store.delete_unfinished(begun + timedelta(days=1)) == 0
    assert other.delete_unfinished(begun + timedelta(days=1)) == 1


def test_a_failed_upload_leaves_no_parts(s3_client: S3Client, store: S3Store, prefix: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * (11 << 20))
    with pytest.raises(LakeError):
        store.put_if_absent("large", source, sha256="0" * 64)
    uploads = s3_client.list_multipart_uploads(Bucket=BUCKET)
    assert [each for each in uploads.get("Uploads", []) if each["Key"].startswith(prefix)] == []


def test_an_interrupted_upload_leaves_no_parts(
    s3_endpoint: str, s3_client: S3Client, prefix: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * (11 << 20))
    client, requests = new_client(s3_endpoint), itertools.count(1)

    def interrupt() -> None:
        if next(requests) == 3:  # the second part
            raise KeyboardInterrupt

    hook_s3_requests(client, interrupt)
    with pytest.raises(KeyboardInterrupt):
        S3Store(client, BUCKET, prefix, part_bytes=5 << 20).put_if_absent("large", source)
    uploads = s3_client.list_multipart_uploads(Bucket=BUCKET)
    assert [each for each in uploads.get("Uploads", []) if each["Key"].startswith(prefix)] == []


def test_the_first_error_is_reported_if_parts_cannot_be_deleted(s3_client: S3Client, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * (11 << 20))
    with pytest.raises(LakeError, match="it changed while it was read"):
        S3Store(s3_client, "forbids-delete", part_bytes=5 << 20).put_if_absent("large", source, sha256="0" * 64)


def test_values_may_be_cached_and_pointers_may_not(s3_client: S3Client, store: S3Store, prefix: str) -> None:
    store.put_if_absent("releases/a.zip", b"x")
    store.compare_and_set("channels/stable/latest.json", b"{}", None)
    value = s3_client.head_object(Bucket=BUCKET, Key=f"{prefix}/releases/a.zip")
    pointer = s3_client.head_object(Bucket=BUCKET, Key=f"{prefix}/channels/stable/latest.json")
    assert (value["ContentType"], value["CacheControl"]) == (
        "application/zip",
        "public, max-age=31536000, immutable",
    )
    assert (pointer["ContentType"], pointer["CacheControl"]) == ("application/json", "no-cache")
    store.put_if_absent("objects/a", b"x")
    assert s3_client.head_object(Bucket=BUCKET, Key=f"{prefix}/objects/a")["ContentType"] == "application/octet-stream"


def test_a_listing_reads_every_page(s3_client: S3Client) -> None:
    store = S3Store(s3_client, "three-a-page")
    keys = [f"many/{number:02}" for number in range(10)]
    for key in keys:
        store.put_if_absent(key, b"")
    assert s3_client.list_objects_v2(Bucket="three-a-page")["KeyCount"] == 3
    assert [each.key for each in store.list("many/")] == keys


@pytest.mark.long
@pytest.mark.parametrize("size_bytes", [3, 11 << 20])
def test_a_put_killed_at_any_request_leaves_nothing_or_the_whole_value(
    s3_client: S3Client, store: S3Store, tmp_path: Path, size_bytes: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(hashlib.shake_128(b"seed").digest(size_bytes))

    def publish(key: str) -> Any:
        def work(before_step: Any) -> None:
            hook_s3_requests(s3_client, before_step)
            store.put_if_absent(key, source)

        return work

    step = 1
    while run_until_killed(publish(f"killed/{step}"), step):
        assert list(store.list(f"killed/{step}")) == []
        assert store.put_if_absent(f"killed/{step}", source) is True
        assert store.read(f"killed/{step}") == source.read_bytes()
        step += 1
    assert step == (3 if size_bytes == 3 else 7)
    assert store.read(f"killed/{step}") == source.read_bytes()
