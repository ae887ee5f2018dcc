"""Unfinished trainings in the lake that will not be resumed: their version was published, or they have no checkpoint."""

from __future__ import annotations

from datetime import datetime, timedelta

from habla_ml.cleanup.leftover import Leftover, LeftoverGroup
from habla_ml.errors import TrainingLeasedError
from habla_ml.lake import Lake, catalogue
from habla_ml.training.lake_checkpoints import discard_training
from habla_ml.training.lease import UnfinishedTraining, list_unfinished_trainings


def find_abandoned_trainings(lake: Lake, now: datetime, grace: timedelta) -> LeftoverGroup:
    """Return the trainings without a lease that has not changed for the grace period; the others are resumed some day."""
    published = set(catalogue.CHECKPOINT.keys(lake))
    abandoned = [
        each
        for each in list_unfinished_trainings(lake)
        if each.lease_remaining_s <= 0 and (each.checkpoint is None or each.version in published)
    ]
    due = [each for each in abandoned if each.changed_at < now - grace]
    waiting = [each for each in abandoned if each not in due]
    return LeftoverGroup(
        "unfinished trainings in the lake",
        tuple(_make_leftover(lake, each) for each in due),
        len(waiting),
        sum(_measure(lake, each) for each in waiting),
    )


def _make_leftover(lake: Lake, training: UnfinishedTraining) -> Leftover:
    def remove() -> bool:
        try:
            discard_training(lake, training)
        except TrainingLeasedError:  # a process resumes it
            return False
        return True

    return Leftover(catalogue.UNFINISHED_TRAINING.name(training.identity.digest), _measure(lake, training), remove)


def _measure(lake: Lake, training: UnfinishedTraining) -> int:
    trees = () if training.checkpoint is None else training.checkpoint.trees
    return sum({file.sha256: file.size_bytes for tree in trees for file in lake.list_tree_files(tree)}.values())
