"""A store in a bucket with a client from dagster-aws, so that credentials and endpoints are set as usual in Dagster."""

import time
from functools import lru_cache
from typing import Any, Final

import dagster as dg
from dagster_aws.s3 import S3Resource

from habla_ml.defs.resources import StoreResource, list_store_fields
from habla_ml.lake.s3_errors import translate_s3_errors
from habla_ml.settings import StoreSettings

_CLIENT_LIFETIME_S: Final = 600.0
"""A client takes a tenth of a second to create, but credentials that another tool renews must be read again."""
_MAX_CLIENTS: Final = 4


class S3StoreResource(StoreResource):
    """A store below `s3://bucket/prefix`."""

    s3: dg.ResourceDependency[S3Resource]

    def client(self) -> Any:
        """Return the boto3 client, as dagster-aws configures it; the same one for some minutes."""
        return _open_client(self.s3.model_dump_json(), int(time.monotonic() // _CLIENT_LIFETIME_S))


@lru_cache(maxsize=_MAX_CLIENTS)
def _open_client(s3: str, _period: int) -> Any:
    with translate_s3_errors("cannot open an S3 client"):
        return S3Resource.model_validate_json(s3).get_client()


def s3_store(where: StoreSettings, cache: str) -> S3StoreResource:
    """Return the resource for a bucket on AWS or on another endpoint with conditional writes."""
    s3 = S3Resource(endpoint_url=where.endpoint_url, region_name=where.region)
    return S3StoreResource(**list_store_fields(where, cache), s3=s3)
