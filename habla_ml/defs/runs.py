"""Running jobs and sensors of these definitions in this process, as runs that the UI shows."""

from __future__ import annotations

import os
import re
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import dagster as dg

from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml.defs.run_worker import build_lock_path, hold_worker_lock
from habla_ml.errors import HablaError, SettingsError

_UNSET_VARIABLE: Final = re.compile(r'environment variable "(\w+)" which is not set')
"""In Dagster's message."""


@contextmanager
def open_dagster_instance() -> Iterator[dg.DagsterInstance]:
    """Yield the instance of DAGSTER_HOME; raise `SettingsError` where it, or a variable of its file, is not set."""
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        raise SettingsError(
            "DAGSTER_HOME is not set, so runs would not be recorded; export the folder that `habla-ml dev` uses"
        )
    try:
        opened = dg.DagsterInstance.get()
    except dg.DagsterInvalidConfigError as error:
        unset = sorted(set(_UNSET_VARIABLE.findall(str(error))))
        why = f"needs variables that are not set: {', '.join(unset)}" if unset else "has keys or values of no setting"
        remedy = "give the command the variables of the daemon (docs/deploy.md)" if unset else "correct the file"
        raise SettingsError(f"{home}/dagster.yaml {why}; {remedy}") from error
    with opened as instance:
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
    """Run one partition (a day or a model version) of a job in this process and record it in `instance`.

    Only `assets` are materialised where they are given. The caller checks whether the run succeeded. Like each run, it
    holds a lock while it lives, so that the daemon fails it when this process is killed.
    """
    run_id = run_id or str(uuid.uuid4())
    lock = build_lock_path(instance.root_directory, run_id)
    with warnings.catch_warnings(), hold_worker_lock(lock):
        warnings.simplefilter("ignore", dg.PreviewWarning)  # Dagster raises it about its own code.
        result = definitions.resolve_job_def(job_name).execute_in_process(
            instance=instance,
            partition_key=partition_key,
            tags=dict(tags or {}),
            run_id=run_id,
            asset_selection=None if assets is None else [dg.AssetKey(each) for each in assets],
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
            raise_on_error=False,
        )
    lock.unlink(missing_ok=True)
    return result


def require_success(run: dg.ExecuteInProcessResult, purpose: str) -> None:
    """Raise `HablaError` if the run failed; `purpose` is what it had to do, as `v2 could not be scored`."""
    if not run.success:
        raise HablaError(
            f"{purpose}; the UI shows run {run.run_id[:8]}. Fix the cause and run the command again; finished runs are "
            "not repeated"
        )


def tick(definitions: dg.Definitions, instance: dg.DagsterInstance, sensor_name: str) -> dg.SensorResult:
    """Evaluate a sensor once, as the daemon does, and add the model versions that it requests."""
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
