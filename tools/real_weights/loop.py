"""Run the product's own jobs on whisper-base: ingest, training, exports, report, release.

The jobs run with Dagster in this process, and a second call runs only what is missing: a training resumes from its last
checkpoint, and clips that were decoded are read from the cache.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dagster as dg
from rich.console import Console

from habla_ml.definitions import build_definitions
from habla_ml.defs.jobs import INGEST, RETRAIN, list_job_assets
from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml.defs.runs import require_success, run_job, tick
from habla_ml.demo.print_run_events import print_run_events
from habla_ml.lake.factory import open_store
from habla_ml.release.published import list_releases
from habla_ml.settings import Settings, configs_folder

VERSION: Final = "v1"
_RELEASE: Final = "cdn_release"


@dataclass(frozen=True)
class LoopResult:
    """What the jobs did, apart from the files in the lake."""

    seconds: dict[str, float]
    """Asset → wall time of its last run."""
    is_released: bool
    """False where the promotion rule refused the version."""


def run_loop(root: Path, settings: Settings, log: Callable[[str], None]) -> LoopResult:
    """Bring the version through all jobs and return the time of each step.

    Raises:
        HablaError: A step failed. A refusal of the promotion rule is no failure.
    """
    assets = list_job_assets(RETRAIN, settings)
    with _open_instance(root) as instance:
        definitions = build_definitions(settings)
        for request in tick(definitions, instance, "new_recordings").run_requests or ():
            log(f"ingesting {request.partition_key}")
            run_id = str(uuid.uuid4())
            day = str(request.partition_key)
            require_success(
                run_job(definitions, instance, INGEST, day, request.tags, run_id), f"{day} could not be ingested"
            )
        instance.add_dynamic_partitions(MODEL_VERSIONS, [VERSION])
        missing = _list_missing(instance, [each for each in assets if each != _RELEASE])
        if missing:
            require_success(_run_assets(definitions, instance, missing), f"{VERSION} could not be trained and scored")
        if _list_missing(instance, [_RELEASE]):
            log("release: the promotion rule decides")
            require_success(
                _run_assets(definitions, instance, [_RELEASE]), f"the release of {VERSION} could not be decided"
            )
        releases = list_releases(open_store(settings.release.store), settings.release.channel)
        return LoopResult(_read_seconds(instance, assets), any(each.is_current for each in releases))


def _run_assets(
    definitions: dg.Definitions, instance: dg.DagsterInstance, assets: Sequence[str]
) -> dg.ExecuteInProcessResult:
    run_id = str(uuid.uuid4())
    console = Console(highlight=False, soft_wrap=True)
    with print_run_events(instance, run_id, VERSION, console):
        return run_job(definitions, instance, RETRAIN, VERSION, run_id=run_id, assets=assets)


def _list_missing(instance: dg.DagsterInstance, assets: Sequence[str]) -> list[str]:
    """Return the assets that have no materialisation; the snapshot has no version as partition."""
    return [each for each in assets if instance.get_latest_materialization_event(dg.AssetKey(each)) is None]


def _read_seconds(instance: dg.DagsterInstance, assets: Sequence[str]) -> dict[str, float]:
    seconds = {}
    for asset in assets:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        if event is None:
            continue
        for step in instance.get_run_step_stats(event.run_id):
            if step.step_key == asset and step.start_time and step.end_time:
                seconds[asset] = round(step.end_time - step.start_time, 1)
    return seconds


@contextmanager
def _open_instance(root: Path) -> Iterator[dg.DagsterInstance]:
    home = root / "dagster_home"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(configs_folder().parent / "dagster_home" / "dagster.yaml", home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    with dg.DagsterInstance.get() as instance:
        yield instance
