"""Versions that repeat one training with other seeds, recognised by how they were trained, and the spread of their WER."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.decoding import Progress
from habla_ml.evaluation.comparison.records import Comparison, ModelScore
from habla_ml.evaluation.comparison.seed_spread import SeedRun, SeedSpread, summarise_seeds
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.export.registry import SERVED
from habla_ml.lake import Lake, catalogue
from habla_ml.training.identity import RunIdentity
from habla_ml.training.plan import read_plan, write_recipe_file
from habla_ml.training.recipe import load_recipe
from habla_ml.training.record import TrainingRecord, read_training_record

_SEED_DEPENDENT_FIELDS = {"recipe", "seed", "first_stage"}
"""Fields of an identity that depend on the seed; the recipe and the first stage are compared separately."""


def find_seed_siblings(lake: Lake, version: str, folder: Path) -> tuple[str, ...]:
    """Return the other versions that differ from `version` only in the seed of their training.

    Snapshot, base model, general speech, code, packages, first stage and recipe are the same. Of each seed the first
    version counts. Return none where `version` was not trained.

    Args:
        lake: Holds plans and training records.
        version: A model version.
        folder: Where recipes are written to be read.
    """
    own = read_training_record(lake, version)
    if own is None:
        return ()
    training, seeds, found = _describe_training_without_seed(lake, own, folder), {own.identity.seed}, []
    for record in _iterate_training_records(lake):
        is_new = record.identity.snapshot == own.identity.snapshot and record.identity.seed not in seeds
        if is_new and _describe_training_without_seed(lake, record, folder) == training:
            seeds.add(record.identity.seed)
            found.append(record.version)
    return tuple(found)


def measure_seed_spread(
    lake: Lake, siblings: Sequence[str], comparison: Comparison, progress: Progress
) -> SeedSpread | None:
    """Return the spread of the WER over the candidate and its siblings; None without a comparable sibling.

    A sibling that was scored on another test set, with other decoding options or as other files is left out and
    logged.
    """
    own = comparison.model("candidate")
    if own is None or own.wer.value is None:
        return None
    runs = [SeedRun(version=own.name, wer=own.wer.value)]
    for name in siblings:
        wer = _read_comparable_wer(lake, name, own, comparison)
        if wer is None:
            progress(
                f"{name} is left out of the spread over seeds, its report is not comparable; materialise `wer_report` "
                f"for it, then for {own.name}"
            )
        else:
            runs.append(SeedRun(version=name, wer=wer))
    return summarise_seeds(runs) if len(runs) > 1 else None


def _read_comparable_wer(lake: Lake, sibling: str, own: ModelScore, comparison: Comparison) -> float | None:
    try:
        stored = read_stored_comparison(lake, sibling)
    except EvaluationError:
        return None  # never scored, or in an older format
    model, served = stored.model("candidate"), lake.read_pointer(catalogue.EXPORT.name(sibling, SERVED.name))
    if model is None or served is None or model.artefact_digest != served.value["tree"]:
        return None
    same_set = stored.test.digest == comparison.test.digest
    same_way = (stored.method.scorer, model.decoding) == (comparison.method.scorer, own.decoding)
    return model.wer.value if same_set and same_way else None


def _iterate_training_records(lake: Lake) -> Iterator[TrainingRecord]:
    planned = set(catalogue.PLAN.keys(lake))  # a version that was trained without Dagster may have no plan
    for version in sorted(planned & set(catalogue.CHECKPOINT.keys(lake)), key=lambda name: (len(name), name)):
        record = read_training_record(lake, version)
        if record is not None:
            yield record


def _describe_training_without_seed(lake: Lake, record: TrainingRecord, folder: Path) -> list[dict[str, Any]]:
    """Return everything that determines a version's weights, without the seed."""
    recipe = load_recipe(write_recipe_file(lake, read_plan(lake, record.version), folder))
    first = record.first_stage
    return [
        recipe.model_dump(mode="json", exclude={"seed", "name"}),
        _dump_without_seed(record.identity),
        {} if first is None else _dump_without_seed(first.identity),
    ]


def _dump_without_seed(identity: RunIdentity) -> dict[str, Any]:
    return identity.model_dump(mode="json", exclude=_SEED_DEPENDENT_FIELDS)
