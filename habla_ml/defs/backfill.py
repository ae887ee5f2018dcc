"""Changed conventions: rewrite the text of stale days and score every version again, as recorded runs.

The same in the UI is one backfill of `annotated_corpus`, `splits` and `wer_report`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import dagster as dg

from habla_ml.corpus.build import list_corpus_days
from habla_ml.corpus.conventions import load_conventions
from habla_ml.defs.jobs import CORRECT, RESCORE
from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml.defs.runs import require_success, run_job
from habla_ml.errors import HablaError
from habla_ml.lake import Lake
from habla_ml.recordings.day_range import explain_day_outside
from habla_ml.settings import Settings
from habla_ml.training.plan import list_evaluated_replicates, list_evaluated_trainings


def find_stale_days(lake: Lake, settings: Settings) -> list[str]:
    """Return the days with text under conventions other than the configured ones."""
    digest = load_conventions(settings.corpus.conventions).digest
    return [day.day for day in list_corpus_days(lake) if day.conventions_digest != digest]


def apply_conventions(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    lake: Lake,
    settings: Settings,
    log: Callable[[str], object],
) -> None:
    """Bring text, snapshot and reports under the configured conventions; cached hypotheses are not decoded again.

    A day that fails does not stop the others, and so with versions. While a day is left, no version can be scored again.

    Raises:
        HablaError: A run failed; finished days are not stale any more and are not repeated by the next call.
    """
    days = find_stale_days(lake, settings)
    _run_each(days, lambda day: _rewrite_text(definitions, instance, settings, day), "text rewritten", log)
    # Replicates first, so that the report of their version reads their new measurements.
    versions = [plan.version for plan in (*list_evaluated_replicates(lake), *list_evaluated_trainings(lake))]
    # This DAGSTER_HOME may be newer than the lake.
    instance.add_dynamic_partitions(MODEL_VERSIONS, versions)
    _run_each(versions, lambda version: run_job(definitions, instance, RESCORE, version), "scored again", log)
    log(f"{len(days)} days and {len(versions)} versions now use {settings.corpus.conventions.name}")


def _rewrite_text(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings, day: str
) -> dg.ExecuteInProcessResult:
    outside = explain_day_outside(day, settings, datetime.now(UTC))
    if outside is not None:  # Dagster has no partition for it
        raise HablaError(f"{day} could not be brought under the new conventions: it {outside}")
    return run_job(definitions, instance, CORRECT, day)


def _run_each(
    names: Sequence[str], run: Callable[[str], dg.ExecuteInProcessResult], done: str, log: Callable[[str], object]
) -> None:
    """Run each of the days or versions, then raise `HablaError` if some failed."""
    faults = []
    for count, name in enumerate(names, start=1):
        try:
            require_success(run(name), f"{name} could not be brought under the new conventions")
        except HablaError as error:
            faults.append(str(error))
            log(str(error))
        else:
            log(f"{name}: {done} ({count} of {len(names)})")
    if faults:
        raise HablaError("; ".join(faults))
