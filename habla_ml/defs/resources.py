"""Resources that open a domain object when a run needs it, never while the code location loads."""

from pathlib import Path
from typing import Any

import dagster as dg

from habla_ml.lake import Lake, Store
from habla_ml.lake.factory import open_lake, open_store
from habla_ml.settings import StoreSettings

_STORE_FIELDS = ("url", "cache_limit_gb", "cloudfront_distribution", "cloudfront_path")


class StoreResource(dg.ConfigurableResource):
    """A store in a local folder; see `defs/s3.py` for a bucket."""

    url: str
    cache: str
    cache_limit_gb: float
    cloudfront_distribution: str | None
    cloudfront_path: str

    def store(self) -> Store:
        """Return the bare store, as the origin of the CDN uses it."""
        return open_store(self._build_settings(), self.client())

    def lake(self) -> Lake:
        """Return the lake: objects and pointers over the store."""
        return open_lake(self._build_settings(), Path(self.cache), self.client())

    def client(self) -> Any:
        """Return the S3 client of a bucket; None for a folder."""
        return None

    def _build_settings(self) -> StoreSettings:
        return StoreSettings(**{name: getattr(self, name) for name in _STORE_FIELDS})


def list_store_fields(where: StoreSettings, cache: str) -> dict[str, Any]:
    """Return the fields of a `StoreResource` for a store in the settings."""
    return {**{name: getattr(where, name) for name in _STORE_FIELDS}, "cache": cache}
