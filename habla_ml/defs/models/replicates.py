"""Training a version again with other seeds or on fewer sessions, as runs that the UI shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dagster as dg

from habla_ml.defs.jobs import TRAIN_REPLICATE
from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml.defs.runs import require_success, run_job


def train_replicates(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    version: str,
    replicates: Sequence[str],
    log: Callable[[str], object],
) -> None:
    """Train and score each replicate, then score `version` again, so that its report shows the spread.

    Raises:
        HablaError: A run failed; finished runs are not repeated by the next call.
    """
    # This DAGSTER_HOME may be newer than the lake.
    instance.add_dynamic_partitions(MODEL_VERSIONS, [version, *replicates])
    for name in replicates:
        log(f"{name}: training and scoring")
        run = run_job(definitions, instance, TRAIN_REPLICATE, name)
        require_success(run, f"{name} could not be trained or scored")
    log(f"{version}: scoring again")
    run = run_job(definitions, instance, TRAIN_REPLICATE, version, assets=["wer_report"])
    require_success(run, f"{version} could not be scored")
