"""A store in a bucket, its client from dagster-aws: credentials, profiles and endpoints as Dagster users know them."""

from typing import Any

import dagster as dg
from dagster_aws.s3 import S3Resource

from habla_ml.defs.resources import StoreResource
from habla_ml.settings import StoreSettings


class S3StoreResource(StoreResource):
    """A place for bytes below `s3://bucket/prefix`."""

    s3: dg.ResourceDependency[S3Resource]

    def client(self) -> Any:
        """boto3's client, as dagster-aws configures it."""
        return self.s3.get_client()


def s3_store(where: StoreSettings, cache: str) -> S3StoreResource:
    """The resource for a bucket on AWS, or on any endpoint with conditional writes."""
    s3 = S3Resource(endpoint_url=where.endpoint_url, region_name=where.region)
    return S3StoreResource(url=where.url, cache=cache, s3=s3)
