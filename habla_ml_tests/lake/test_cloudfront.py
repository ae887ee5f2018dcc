"""A CloudFront distribution in front of a bucket: moto's, over HTTP."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from pydantic import ValidationError

from habla_ml.errors import PointerMovedError
from habla_ml.lake import Store, open_store
from habla_ml.settings import StoreSettings
from habla_ml_tests.testing.s3_clients import BUCKET, CREDENTIALS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def cloudfront(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a client of the server; the code under test finds it by boto3's own variables."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL_CLOUDFRONT": s3_endpoint}.items():
        monkeypatch.setenv(name, value)
    return boto3.Session().client("cloudfront", region_name="us-east-1")


@pytest.fixture
def distribution(cloudfront: Any) -> str:
    origin = {
        "Id": "bucket",
        "DomainName": f"{BUCKET}.s3.amazonaws.com",
        "S3OriginConfig": {"OriginAccessIdentity": ""},
    }
    behaviour = {
        "TargetOriginId": "bucket",
        "ViewerProtocolPolicy": "redirect-to-https",
        "MinTTL": 3600,
        "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
    }
    config = {
        "CallerReference": uuid.uuid4().hex,
        "Origins": {"Quantity": 1, "Items": [origin]},
        "DefaultCacheBehavior": behaviour,
        "Comment": "",
        "Enabled": True,
    }
    made = cloudfront.create_distribution(DistributionConfig=config)
    return str(made["Distribution"]["Id"])


def _open(s3_client: S3Client, distribution: str, path: str) -> Store:
    url = f"s3://{BUCKET}/tests/{uuid.uuid4().hex}"
    return open_store(StoreSettings(url=url, cloudfront_distribution=distribution, cloudfront_path=path), s3_client)


def _list_paths(cloudfront: Any, distribution: str) -> list[str]:
    listed = cloudfront.list_invalidations(DistributionId=distribution)["InvalidationList"].get("Items", [])
    return sorted(
        path
        for each in listed
        for path in cloudfront.get_invalidation(DistributionId=distribution, Id=each["Id"])["Invalidation"][
            "InvalidationBatch"
        ]["Paths"]["Items"]
    )


def test_a_replaced_and_a_deleted_value_are_invalidated_and_a_new_one_under_its_own_name_is_not(
    s3_client: S3Client, cloudfront: Any, distribution: str
) -> None:
    store = _open(s3_client, distribution, "/models")
    store.put_if_absent("releases/v1/model.zip", b"model")
    store.compare_and_set("channels/stable/latest.json", b"{}", None)
    store.put_if_absent("channels/stable/models/ios.json", b"{}")
    store.delete("channels/stable/models/ios.json")
    expected = ["/models/channels/stable/latest.json", "/models/channels/stable/models/ios.json"]
    assert _list_paths(cloudfront, distribution) == expected


@pytest.mark.slow
def test_a_value_that_another_writer_moved_is_not_invalidated(
    s3_client: S3Client, cloudfront: Any, distribution: str
) -> None:
    store = _open(s3_client, distribution, "")
    store.compare_and_set("latest.json", b"1", None)
    with pytest.raises(PointerMovedError):
        store.compare_and_set("latest.json", b"2", '"stale"')
    assert _list_paths(cloudfront, distribution) == ["/latest.json"]


def test_a_distribution_that_refuses_is_a_warning_and_the_value_is_stored(
    s3_client: S3Client, cloudfront: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = _open(s3_client, "EUNKNOWN", "")
    store.compare_and_set("latest.json", b"{}", None)
    assert store.read("latest.json") == b"{}"
    assert "EUNKNOWN can serve its earlier value" in caplog.text
    assert "cloudfront:CreateInvalidation" in caplog.text


def test_a_distribution_in_front_of_a_folder_is_refused() -> None:
    with pytest.raises(ValidationError, match="is no bucket; remove it"):
        StoreSettings(url="var/cdn", cloudfront_distribution="E1ABC")
