"""Training a version again with other seeds or on fewer sessions, as runs that the UI shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dagster as dg

from habla_ml.defs.jobs import TRAIN_REPLICATE
from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml.defs.runs import run_job
from habla_ml.errors import HablaError


def register_replicates(instance: dg.DagsterInstance, replicates: Sequence[str]) -> None:
    """Add the replicates to the model versions that the UI offers; existing ones stay."""
    instance.add_dynamic_partitions(MODEL_VERSIONS, list(replicates))


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
    for name in replicates:
        log(f"{name}: training and scoring")
        _require_training_success(run_job(definitions, instance, TRAIN_REPLICATE, name), name)
    log(f"{version}: scoring again")
    _require_training_success(run_job(definitions, instance, TRAIN_REPLICATE, version, assets=["wer_report"]), version)


def _require_training_success(run: dg.ExecuteInProcessResult, version: str) -> None:
    if not run.success:
        raise HablaError(
            f"{version} could not be trained or scored; the UI shows run {run.run_id[:8]}. Fix the cause and run the "
            "command again; finished runs are not repeated"
        )
