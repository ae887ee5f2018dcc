"""Addresses that are no S3 store, folders that a console made, archived values, and uploads that ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from habla_ml.defs.s3 import s3_store
from habla_ml.errors import LakeError, classify_fault
from habla_ml.lake import S3Store, catalogue, open_lake, open_store
from habla_ml.settings import StoreSettings
from habla_ml.settings.yaml_files import format_validation_errors
from habla_ml_tests.testing.s3_clients import BUCKET

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REQUESTS: dict[str, Callable[[S3Store], object]] = {
    "list": lambda store: list(store.list("")),
    "put": lambda store: store.put_if_absent("objects/1", b"1"),
    "read": lambda store: store.read("objects/1"),
    "delete": lambda store: store.delete("objects/1"),
}


def test_an_address_that_redirects_is_an_error_with_the_next_step(s3_client: S3Client) -> None:
    with pytest.raises(LakeError, match="the address redirects; set endpoint_url to the one that answers") as found:
        S3Store(s3_client, "redirects").read("objects/1")
    assert classify_fault(found.value) == "environment"


@pytest.mark.parametrize("request_name", REQUESTS)
def test_a_web_page_is_no_answer_of_a_store(s3_client: S3Client, request_name: str) -> None:
    with pytest.raises(LakeError, match="set endpoint_url to the address of the S3 API"):
        REQUESTS[request_name](S3Store(s3_client, "is-a-page"))


def test_a_page_is_no_lake(s3_client: S3Client) -> None:
    with pytest.raises(LakeError, match=r"cannot test conditional writes .*endpoint_url"):
        open_store(StoreSettings(url="s3://is-a-page/lake"), s3_client)


@pytest.mark.parametrize("endpoint", ["localhost:9000", "//localhost:9000", "s3.example", "http://"])
def test_an_endpoint_is_a_whole_address(endpoint: str) -> None:
    with pytest.raises(ValidationError, match=r"expected the whole address, such as https://"):
        StoreSettings(url=f"s3://{BUCKET}", endpoint_url=endpoint)


def test_an_endpoint_with_a_key_is_refused_without_the_key() -> None:
    with pytest.raises(ValidationError) as found:
        StoreSettings(url=f"s3://{BUCKET}", endpoint_url="https://key:hidden@s3.example")
    assert "hidden" not in format_validation_errors(found.value, StoreSettings, "x.yaml")


def test_an_endpoint_that_ends_with_the_bucket_is_no_setting() -> None:
    with pytest.raises(ValidationError, match="remove the bucket from endpoint_url"):
        StoreSettings(url=f"s3://{BUCKET}/lake", endpoint_url=f"https://s3.example/{BUCKET}/")
    StoreSettings(url=f"s3://{BUCKET}/lake", endpoint_url="https://s3.example/storage/v1/s3")


@pytest.mark.parametrize(
    ("variables", "region", "fault"),
    [
        ({"AWS_PROFILE": "nobody"}, "eu-west-1", "config profile .nobody. could not be found"),
        ({"AWS_SHARED_CREDENTIALS_FILE": "broken"}, "eu-west-1", "Unable to parse config file"),
        ({}, "Europe (Ireland)", "Provided region_name 'Europe .Ireland.'"),
    ],
    ids=["profile", "file", "region"],
)
def test_wrong_credentials_files_and_regions_are_errors_with_the_next_step(
    variables: Mapping[str, str], region: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken").write_text("[default\nkey", encoding="utf-8")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    place = StoreSettings(url=f"s3://{BUCKET}/lake", region=region)
    opened: list[Callable[[], object]] = [lambda: open_store(place), s3_store(place, "cache").client]
    for each in opened:
        with pytest.raises(LakeError, match=f"cannot open .*{fault}.*check endpoint_url, region, credentials"):
            each()


def test_folders_that_a_console_made_are_no_values(s3_client: S3Client, tmp_path: Path) -> None:
    for folder in ("", "objects/", "objects/ab/", "pointers/", "pointers/recordings/"):
        s3_client.put_object(Bucket=BUCKET, Key=f"console/{folder}", Body=b"")
    lake = open_lake(StoreSettings(url=f"s3://{BUCKET}/console"), tmp_path, s3_client)
    object_id = lake.put_bytes(b"hola")
    assert [each.key for each in S3Store(s3_client, BUCKET, "console").list("")] == [
        f"objects/{object_id[:2]}/{object_id}"
    ]
    assert list(catalogue.RECORDINGS.keys(lake)) == []


def test_an_archived_value_is_an_error_with_the_next_step(s3_client: S3Client) -> None:
    store = S3Store(s3_client, BUCKET, "archived")
    store.put_if_absent("objects/1", b"1")
    with pytest.raises(LakeError, match="in an archive such as Glacier; restore it there"):
        store.read("objects/1")


def test_an_upload_that_ended_does_not_stop_the_cleanup_of_others(s3_client: S3Client) -> None:
    store = S3Store(s3_client, BUCKET, "uploads")
    for name in ("a", "ended-upload", "z"):
        s3_client.create_multipart_upload(Bucket=BUCKET, Key=f"uploads/{name}")
    assert store.delete_unfinished(datetime.now(UTC) + timedelta(days=1)) == 2
    left = s3_client.list_multipart_uploads(Bucket=BUCKET, Prefix="uploads/")["Uploads"]
    assert [each["Key"] for each in left] == ["uploads/ended-upload"]
