"""Clients of the S3 server of `faulty_s3_server`."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_s3 import S3Client

BUCKET = "habla-lake"


@cache
def _session() -> Session:
    """Read the description of the service once; create clients in the main thread only."""
    from boto3.session import Session

    return Session()


def new_client(endpoint: str) -> S3Client:
    """Create a client for one thread or process."""
    from botocore.config import Config

    return _session().client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 3}),
    )


def count_requests(client: S3Client) -> Counter[str]:
    """Return a counter of the later requests of `client` by operation, such as `GetObject`."""
    counter: Counter[str] = Counter()

    def count(event_name: str, **_: Any) -> None:
        counter[event_name.rpartition(".")[2]] += 1

    client.meta.events.register("before-send.s3", count)
    return counter
