"""Training a version again with other seeds: the replicates shown in the UI, or trained and scored here and now."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import dagster as dg

from habla_ml.defs.jobs import TRAIN_REPLICATE
from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml.defs.runs import run_job
from habla_ml.errors import HablaError


def register_replicates(instance: dg.DagsterInstance, replicates: Sequence[str]) -> None:
    """Let the UI offer the replicates as model versions; those it knows stay."""
    instance.add_dynamic_partitions(MODEL_VERSIONS, list(replicates))


def train_replicates(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    version: str,
    replicates: Sequence[str],
    log: Callable[[str], object],
) -> None:
    """Train and score each repeat, then score `version` again, whose report shows the spread.

    Raises:
        HablaError: A run failed; those before it are done and need not be done again.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # of Dagster's own code, about itself
        for name in replicates:
            log(f"{name}: training and scoring")
            _require_training_success(run_job(definitions, instance, TRAIN_REPLICATE, name), name)
        log(f"{version}: scoring again")
        _require_training_success(
            run_job(definitions, instance, TRAIN_REPLICATE, version, assets=["wer_report"]), version
        )


def _require_training_success(run: dg.ExecuteInProcessResult, version: str) -> None:
    if not run.success:
        raise HablaError(
            f"{version} could not be trained or scored; the UI shows run {run.run_id[:8]}. Mend it and ask again: "
            "what is done is not done twice"
        )
