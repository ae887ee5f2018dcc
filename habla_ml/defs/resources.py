"""Thin resources: each hands out a domain object that is opened when a run asks for it, never at load."""

from pathlib import Path
from typing import Any

import dagster as dg

from habla_ml.lake import Lake, Store
from habla_ml.lake.factory import open_lake, open_store
from habla_ml.settings import Settings, StoreSettings


class StoreResource(dg.ConfigurableResource):
    """A place for bytes in a local folder; see `defs/s3.py` for a bucket."""

    url: str
    cache: str

    def store(self) -> Store:
        """The bare store (for the CDN's origin)."""
        return open_store(StoreSettings(url=self.url), self.client())

    def lake(self) -> Lake:
        """Objects and pointers over the store."""
        return open_lake(StoreSettings(url=self.url), Path(self.cache), self.client())

    def client(self) -> Any:
        """The S3 client to reach the place by; none is needed for a folder."""
        return None


def build_resources(settings: Settings) -> dict[str, object]:
    """The resources of a deployment: the lake, the CDN's origin, and the training's process client."""
    cache = str(settings.work_folder / "cache")
    return {
        "lake": _build_store_resource(settings.lake, cache),
        "cdn": _build_store_resource(settings.release.store, cache),
        "pipes": dg.PipesSubprocessClient(),
    }


def _build_store_resource(where: StoreSettings, cache: str) -> StoreResource:
    if not where.url.startswith("s3://"):
        return StoreResource(url=where.url, cache=cache)
    # dagster-aws takes as long to import as Dagster itself: only those who keep their lake on S3 pay for it.
    from habla_ml.defs.s3 import s3_store

    return s3_store(where, cache)
