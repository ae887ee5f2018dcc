"""Which versions are one training with several seeds: told by how they were trained, not by their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from habla_ml.lake import Lake, catalogue
from habla_ml.training.identity import RunIdentity
from habla_ml.training.plan import read_plan, write_recipe_file
from habla_ml.training.recipe import load_recipe
from habla_ml.training.record import TrainingRecord, read_training_record

_SEED_DEPENDENT_FIELDS = {"recipe", "seed", "first_stage"}
"""What the seed changes of an identity; the recipe and the first stage are compared for themselves."""


def find_seed_siblings(lake: Lake, version: str, folder: Path) -> tuple[str, ...]:
    """The other versions that differ from `version` by nothing but the seed of their training.

    Same snapshot, base model, general speech, code, packages and first stage, and a recipe that is equal but for its
    seed. One version a seed; none where `version` was not trained.

    Args:
        lake: Where plans and training records are.
        version: A model version.
        folder: Where recipes are laid down to be read.
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


def _iterate_training_records(lake: Lake) -> Iterator[TrainingRecord]:
    for version in sorted(catalogue.CHECKPOINT.keys(lake), key=lambda name: (len(name), name)):
        record = read_training_record(lake, version)
        if record is not None:
            yield record


def _describe_training_without_seed(lake: Lake, record: TrainingRecord, folder: Path) -> list[dict[str, Any]]:
    """Everything that decided a version's weights, less the seed."""
    recipe = load_recipe(write_recipe_file(lake, read_plan(lake, record.version), folder))
    first = record.first_stage
    return [
        recipe.model_dump(mode="json", exclude={"seed", "name"}),
        _dump_without_seed(record.identity),
        {} if first is None else _dump_without_seed(first.identity),
    ]


def _dump_without_seed(identity: RunIdentity) -> dict[str, Any]:
    return identity.model_dump(mode="json", exclude=_SEED_DEPENDENT_FIELDS)
