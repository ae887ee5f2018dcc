"""Resources that open a domain object when a run needs it, never while the code location loads."""

from pathlib import Path
from typing import Any

import dagster as dg

from habla_ml.lake import Lake, Store
from habla_ml.lake.factory import open_lake, open_store
from habla_ml.settings import StoreSettings


class StoreResource(dg.ConfigurableResource):
    """A store in a local folder; see `defs/s3.py` for a bucket."""

    url: str
    cache: str
    cache_limit_gb: float

    def store(self) -> Store:
        """Return the bare store, as the origin of the CDN uses it."""
        return open_store(StoreSettings(url=self.url), self.client())

    def lake(self) -> Lake:
        """Return the lake: objects and pointers over the store."""
        where = StoreSettings(url=self.url, cache_limit_gb=self.cache_limit_gb)
        return open_lake(where, Path(self.cache), self.client())

    def client(self) -> Any:
        """Return the S3 client of a bucket; None for a folder."""
        return None
