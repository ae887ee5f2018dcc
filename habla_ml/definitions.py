"""The Dagster code location: the definitions of every topic, the jobs and the resources."""

from __future__ import annotations

import dagster as dg

from habla_ml.defs import corpus, models, monitoring, releases
from habla_ml.defs.jobs import build_jobs
from habla_ml.defs.resources import StoreResource, list_store_fields
from habla_ml.settings import Settings, StoreSettings, load_settings

_TOPICS = (corpus, models, releases, monitoring)


def build_definitions(settings: Settings) -> dg.Definitions:
    """Return everything the code location offers under these settings."""
    shared = dg.Definitions(
        jobs=build_jobs(settings), resources=build_resources(settings), executor=dg.in_process_executor
    )
    return dg.Definitions.merge(shared, *(topic.build(settings) for topic in _TOPICS))


def build_resources(settings: Settings) -> dict[str, object]:
    """Return the lake and the origin of the CDN."""
    cache = str(settings.work_folder / "cache")
    return {
        "lake": _build_store_resource(settings.lake, cache),
        "cdn": _build_store_resource(settings.release.store, cache),
    }


def _build_store_resource(store: StoreSettings, cache: str) -> StoreResource:
    if not store.url.startswith("s3://"):
        return StoreResource(**list_store_fields(store, cache))
    # dagster-aws takes as long to import as Dagster itself, so it is imported for a store on S3 only.
    from habla_ml.defs.s3 import s3_store

    return s3_store(store, cache)


@dg.definitions
def defs() -> dg.Definitions:
    """Return the code location that `workspace.yaml` loads, under the profile in HABLA_PROFILE."""
    return build_definitions(load_settings())
