"""The Dagster code location: the definitions of every topic, the jobs and the resources."""

from __future__ import annotations

import dagster as dg

from habla_ml.defs import corpus, models, monitoring, releases
from habla_ml.defs.jobs import build_jobs
from habla_ml.defs.resources import build_resources
from habla_ml.settings import Settings, load_settings

_TOPICS = (corpus, models, releases, monitoring)


def build_definitions(settings: Settings) -> dg.Definitions:
    """Return everything the code location offers under these settings."""
    shared = dg.Definitions(
        jobs=build_jobs(), resources=build_resources(settings), executor=dg.in_process_executor
    )
    return dg.Definitions.merge(shared, *(topic.build(settings) for topic in _TOPICS))


@dg.definitions
def defs() -> dg.Definitions:
    """Return the code location that `workspace.yaml` loads, under the profile in HABLA_PROFILE."""
    return build_definitions(load_settings())
