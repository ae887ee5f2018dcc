"""Tell a CloudFront distribution in front of a store that a value was replaced.

A replaced value has the header `Cache-Control: no-cache`, which a distribution obeys unless its minimum TTL is above 0.
"""

from __future__ import annotations

import logging
import uuid
from functools import cached_property
from typing import Any, Final

_LOG: Final = logging.getLogger(__name__)


class CloudFrontInvalidation:
    """Invalidates the copies that a distribution keeps; boto3 finds the credentials."""

    def __init__(self, distribution: str, path: str) -> None:
        """`path` is that of the store's root below the distribution, such as `/models`; empty for the root itself."""
        self._distribution = distribution
        self._path = f"/{path.strip('/')}".rstrip("/")

    def __call__(self, key: str) -> None:
        """Invalidate the copies of a value. A failure is logged: the value is stored, and copies expire by themselves."""
        from botocore.exceptions import BotoCoreError, ClientError

        path = f"{self._path}/{key}"
        paths: Any = {"Quantity": 1, "Items": [path]}
        try:
            self._client.create_invalidation(
                DistributionId=self._distribution,
                InvalidationBatch={"Paths": paths, "CallerReference": uuid.uuid4().hex},
            )
        except (BotoCoreError, ClientError) as error:
            _LOG.warning(
                "%s is stored, but the CloudFront distribution %s can serve its earlier value until that expires: %s; the "
                "credentials need cloudfront:CreateInvalidation",
                path,
                self._distribution,
                error,
            )

    @cached_property
    def _client(self) -> Any:
        import boto3

        return boto3.Session().client("cloudfront", region_name="us-east-1")  # a global service
