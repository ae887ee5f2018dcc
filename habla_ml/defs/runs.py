"""Running jobs and sensors of these definitions here and now, as runs that the UI shows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import dagster as dg

from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml.errors import SettingsError


@contextmanager
def open_dagster_instance() -> Iterator[dg.DagsterInstance]:
    """The instance of DAGSTER_HOME; raises `SettingsError` where none is named."""
    if not os.environ.get("DAGSTER_HOME"):
        raise SettingsError(
            "DAGSTER_HOME is not set, so the runs would be recorded nowhere; export the folder that `make dev` uses"
        )
    with dg.DagsterInstance.get() as instance:
        yield instance


def run_job(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    job_name: str,
    partition_key: str,
    tags: Mapping[str, str] | None = None,
    run_id: str | None = None,
    assets: Sequence[str] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run one partition of a job to its end in this process; the caller looks whether it succeeded.

    `assets` names those of the job that are made; None is all.
    """
    job = definitions.resolve_job_def(job_name)
    return job.execute_in_process(
        instance=instance,
        partition_key=partition_key,
        tags=dict(tags or {}),
        run_id=run_id,
        asset_selection=None if assets is None else [dg.AssetKey(each) for each in assets],
        run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        raise_on_error=False,
    )


def tick(definitions: dg.Definitions, instance: dg.DagsterInstance, sensor_name: str) -> dg.SensorResult:
    """Evaluate a sensor once, as the daemon would, and add the model versions it asks for."""
    sensor = definitions.resolve_sensor_def(sensor_name)
    known = definitions.get_repository_def().get_top_level_resources()
    resources = {name: known[name] for name in sensor.required_resource_keys}
    with dg.build_sensor_context(instance=instance, sensor_name=sensor_name, resources=resources) as context:
        found = sensor(context)
    if not isinstance(found, dg.SensorResult):
        raise TypeError(f"sensor {sensor_name} returned {type(found).__name__}, expected SensorResult")
    for request in found.dynamic_partitions_requests or ():
        instance.add_dynamic_partitions(MODEL_VERSIONS, list(request.partition_keys))
    return found
