"""A store in a bucket with a client from dagster-aws, so that credentials and endpoints are set as usual in Dagster."""

from typing import Any

import dagster as dg
from dagster_aws.s3 import S3Resource

from habla_ml.defs.resources import StoreResource
from habla_ml.settings import StoreSettings


class S3StoreResource(StoreResource):
    """A store below `s3://bucket/prefix`."""

    s3: dg.ResourceDependency[S3Resource]

    def client(self) -> Any:
        """Return the boto3 client, as dagster-aws configures it."""
        return self.s3.get_client()


def s3_store(where: StoreSettings, cache: str) -> S3StoreResource:
    """Return the resource for a bucket on AWS or on another endpoint with conditional writes."""
    s3 = S3Resource(endpoint_url=where.endpoint_url, region_name=where.region)
    return S3StoreResource(url=where.url, cache=cache, cache_limit_gb=where.cache_limit_gb, s3=s3)
