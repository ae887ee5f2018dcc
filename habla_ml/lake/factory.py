"""Open the store or the lake in the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from habla_ml.errors import LakeError
from habla_ml.lake.cloudfront import CloudFrontInvalidation
from habla_ml.lake.directory import DirectoryStore
from habla_ml.lake.lake import Lake
from habla_ml.lake.pointers import PointerCache
from habla_ml.lake.s3 import S3Store, probe_conditional_writes
from habla_ml.lake.s3_errors import translate_s3_errors
from habla_ml.lake.store import Store
from habla_ml.settings import StoreSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MAX_KNOWN_PLACES: Final = 4
_READ_TIMEOUT_S: Final = 60
"""For each part of an answer; a request is tried five times."""
_BUCKET_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_lake(settings: StoreSettings, cache: Path, s3_client: S3Client | None = None) -> Lake:
    """Open the lake in `settings` with the errors of `open_store`; `cache` is a local folder for remote objects.

    The lakes that one process opens at the same place share what they know of pointers.
    """
    store = open_store(settings, s3_client)
    pointer_cache = _recall_place(store.location).pointer_cache
    return Lake(store, cache, round(settings.cache_limit_gb * 1e9), pointer_cache)


def open_store(settings: StoreSettings, s3_client: S3Client | None = None) -> Store:
    """Open the store at `settings.url`: a folder, created if it is missing, or `s3://bucket/prefix`.

    Raises `LakeError` if the scheme is unknown, or the S3 endpoint cannot be reached or written, has no such bucket or
    ignores conditional writes. Once an endpoint has passed that test, the process does not repeat it.
    """
    if "://" not in settings.url:
        return DirectoryStore(Path(settings.url))
    url = urlsplit(settings.url)
    if url.scheme != "s3":
        raise LakeError(f"store url {settings.url!r} has the scheme {url.scheme!r}; use a folder or s3://bucket/prefix")
    if not _BUCKET_NAME_PATTERN.fullmatch(url.netloc):
        raise LakeError(
            f"store url {settings.url!r} names the bucket {url.netloc!r}, which is not a valid bucket name "
            "(3 to 63 lower-case letters, digits, dots and hyphens); write s3://bucket/prefix"
        )
    client = s3_client or create_s3_client(settings)
    distribution, path = settings.cloudfront_distribution, settings.cloudfront_path
    on_replaced = CloudFrontInvalidation(distribution, path) if distribution else None
    store = S3Store(client, url.netloc, url.path, on_replaced=on_replaced)
    place = _recall_place(store.location)
    if not place.has_conditional_writes:
        probe_conditional_writes(client, url.netloc, url.path)
        place.has_conditional_writes = True
    return store


@dataclass
class _KnownPlace:
    """What this process knows of a store, so that a sensor that opens it at every tick need not find out again."""

    pointer_cache: PointerCache = field(default_factory=PointerCache)
    has_conditional_writes: bool = False


@lru_cache(maxsize=_MAX_KNOWN_PLACES)
def _recall_place(_location: str) -> _KnownPlace:
    return _KnownPlace()


def create_s3_client(settings: StoreSettings) -> S3Client:
    """Create a client from the settings; boto3 finds the credentials (environment, profile, role)."""
    import boto3
    from botocore.config import Config

    # Many self-hosted endpoints have no host name per bucket: use paths.
    addressing: Literal["path", "auto"] = "path" if settings.endpoint_url else "auto"
    retries: Any = {"mode": "standard", "total_max_attempts": 5}
    config = Config(
        connect_timeout=10, read_timeout=_READ_TIMEOUT_S, retries=retries, s3={"addressing_style": addressing}
    )
    with translate_s3_errors(f"cannot open {settings.url}"):
        # A new session: boto3's default session keeps the first credentials that it finds.
        session = boto3.Session()
        return session.client("s3", endpoint_url=settings.endpoint_url, region_name=settings.region, config=config)
