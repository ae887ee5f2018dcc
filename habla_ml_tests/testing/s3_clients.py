"""The S3 server of `faulty_s3_server` in a process of its own, and clients of it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_s3 import S3Client

BUCKET = "habla-lake"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
"""The variables with which boto3 finds credentials; this server accepts any."""
_FAULTY_BUCKETS = (
    "ignores-if-none-match",
    "ignores-if-match",
    "refuses-everything-conditional",
    "forbids-delete",
    "three-a-page",
    "revives-deleted",
)


@contextmanager
def serve_s3() -> Iterator[str]:
    """Run a server, and yield its address; its buckets are those of `faulty_s3_server`."""
    command = [sys.executable, "-m", "habla_ml_tests.testing.faulty_s3_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
        for bucket in (BUCKET, *_FAULTY_BUCKETS):
            new_client(endpoint).create_bucket(Bucket=bucket)
        yield endpoint
        server.communicate(timeout=10)


@cache
def _session() -> Session:
    """Read the description of the service once; create clients in the main thread only."""
    from boto3.session import Session

    return Session()


def new_client(endpoint: str, key: tuple[str, str] = ("test", "test")) -> S3Client:
    """Create a client for one thread or process; `key` is the access key's id and secret, which few servers look at."""
    from botocore.config import Config

    return _session().client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 3}),
    )


def count_requests(client: S3Client) -> Counter[str]:
    """Return a counter of the later requests of `client` by operation, such as `GetObject`."""
    counter: Counter[str] = Counter()

    def count(event_name: str, **_: Any) -> None:
        counter[event_name.rpartition(".")[2]] += 1

    client.meta.events.register("before-send.s3", count)
    return counter
