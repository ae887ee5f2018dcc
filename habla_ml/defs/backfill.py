"""Changed conventions: rewrite the text of every stale day, then score every version again, as recorded runs.

In the UI the same is one backfill of `annotated_corpus`, `splits` and `wer_report`.
"""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from habla_ml.corpus.build import load_corpus_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.defs.jobs import CORRECT, RESCORE
from habla_ml.defs.runs import run_job
from habla_ml.errors import HablaError
from habla_ml.lake import Lake, catalogue
from habla_ml.settings import Settings
from habla_ml.training.plan import list_evaluated_replicates, list_evaluated_trainings


def find_stale_days(lake: Lake, settings: Settings) -> list[str]:
    """Days whose text is under other conventions than the configured ones."""
    digest = load_conventions(settings.corpus.conventions).digest
    days = catalogue.CORPUS.keys(lake)
    built = (load_corpus_day(lake, day) for day in days)
    return [day.day for day in built if day is not None and day.conventions_digest != digest]


def apply_conventions(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    lake: Lake,
    settings: Settings,
    log: Callable[[str], object],
) -> None:
    """Bring text, snapshot and reports under the configured conventions; decodes nothing that is known."""
    days = find_stale_days(lake, settings)
    for count, day in enumerate(days, start=1):
        _require_backfill_success(run_job(definitions, instance, CORRECT, day), day)
        log(f"{day}: text rewritten ({count} of {len(days)})")
    # Repeats first, so that the report of what they repeat finds them measured as it is.
    versions = [plan.version for plan in (*list_evaluated_replicates(lake), *list_evaluated_trainings(lake))]
    for version in versions:
        _require_backfill_success(run_job(definitions, instance, RESCORE, version), version)
        log(f"{version}: scored again")
    log(f"{len(days)} days and {len(versions)} versions stand under {settings.corpus.conventions.name}")


def _require_backfill_success(run: dg.ExecuteInProcessResult, what: str) -> None:
    if not run.success:
        raise HablaError(
            f"{what} could not be brought under the new conventions; the UI shows run {run.run_id[:8]}"
        )
