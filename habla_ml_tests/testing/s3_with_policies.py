"""An S3 server that enforces the policies of `deploy/s3_policies`, with a client for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from habla_ml_tests.testing.s3_clients import CREDENTIALS, new_client, serve_s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

POLICIES: Final = Path(__file__).parents[2] / "deploy" / "s3_policies"
BUCKETS: Final = ("habla-ml-lake", "habla-clips", "habla-ml-cdn", "habla-ml-backup")
OWNER: Final = "owner"
_ALL_RIGHTS: Final = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'


@contextmanager
def serve_s3_with_policies() -> Iterator[Mapping[str, S3Client]]:
    """Run a server, and yield a client by the name of its policy; `owner` has every right.

    moto compares actions and resources with the policies, and the signature with the key. It ignores conditions.
    """
    import boto3

    with serve_s3() as endpoint:
        iam = boto3.Session().client(
            "iam",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        for bucket in BUCKETS:
            new_client(endpoint).create_bucket(Bucket=bucket)
        clients = {}
        documents = {path.stem: path.read_text("utf-8") for path in sorted(POLICIES.glob("*.json"))}
        for name, document in {**documents, OWNER: _ALL_RIGHTS}.items():
            iam.create_user(UserName=name)
            iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=document)
            key = iam.create_access_key(UserName=name)["AccessKey"]
            clients[name] = new_client(endpoint, (key["AccessKeyId"], key["SecretAccessKey"]))
        # From here on, each request needs a right.
        httpx.post(f"{endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()
        yield clients
