"""A store in a bucket whose endpoint and region are a resource of dagster-aws, as usual in Dagster.

The client is that of the commands. One of dagster-aws waits 60 s for a connection, six times: with a server that is gone,
ticks that Dagster has given up would hold all threads of the code server, and no alert could be sent.
"""

import time
from functools import lru_cache
from typing import Any, Final

import dagster as dg
from dagster_aws.s3 import S3Resource

from habla_ml.defs.resources import StoreResource, list_store_fields
from habla_ml.lake.factory import create_s3_client
from habla_ml.settings import StoreSettings

_CLIENT_LIFETIME_S: Final = 600.0
"""A client takes a tenth of a second to create, but credentials that another tool renews must be read again."""
_MAX_CLIENTS: Final = 4


class S3StoreResource(StoreResource):
    """A store below `s3://bucket/prefix`."""

    s3: dg.ResourceDependency[S3Resource]

    def client(self) -> Any:
        """Return a boto3 client; the same one for some minutes."""
        period = int(time.monotonic() // _CLIENT_LIFETIME_S)
        return _open_client(self.url, self.s3.endpoint_url, self.s3.region_name, period)


@lru_cache(maxsize=_MAX_CLIENTS)
def _open_client(url: str, endpoint_url: str | None, region: str | None, _period: int) -> Any:
    return create_s3_client(StoreSettings(url=url, endpoint_url=endpoint_url, region=region))


def s3_store(where: StoreSettings, cache: str) -> S3StoreResource:
    """Return the resource for a bucket on AWS or on another endpoint with conditional writes."""
    s3 = S3Resource(endpoint_url=where.endpoint_url, region_name=where.region)
    return S3StoreResource(**list_store_fields(where, cache), s3=s3)
