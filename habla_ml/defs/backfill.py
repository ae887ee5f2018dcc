"""Changed conventions: rewrite the text of stale days and score every version again, as recorded runs.

The same in the UI is one backfill of `annotated_corpus`, `splits` and `wer_report`.
"""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from habla_ml.corpus.build import list_corpus_days
from habla_ml.corpus.conventions import load_conventions
from habla_ml.defs.jobs import CORRECT, RESCORE
from habla_ml.defs.runs import require_success, run_job
from habla_ml.lake import Lake
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

    Raises:
        HablaError: A run failed; finished days are not stale any more and are not repeated by the next call.
    """
    days = find_stale_days(lake, settings)
    fault = "{} could not be brought under the new conventions"
    for count, day in enumerate(days, start=1):
        require_success(run_job(definitions, instance, CORRECT, day), fault.format(day))
        log(f"{day}: text rewritten ({count} of {len(days)})")
    # Replicates first, so that the report of their version reads their new measurements.
    versions = [plan.version for plan in (*list_evaluated_replicates(lake), *list_evaluated_trainings(lake))]
    for version in versions:
        require_success(run_job(definitions, instance, RESCORE, version), fault.format(version))
        log(f"{version}: scored again")
    log(f"{len(days)} days and {len(versions)} versions now use {settings.corpus.conventions.name}")
