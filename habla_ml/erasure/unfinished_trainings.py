"""Unfinished trainings on an erased voice: their checkpoints are deleted, and they begin again without it.

The plan of the version leads to a snapshot without the voice by then, so nothing could resume them in any case.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from habla_ml.erasure.rewrite import PointerRewriter
from habla_ml.lake import Lake
from habla_ml.training.checkpoints import STAMP_FILE, CheckpointStamp
from habla_ml.training.lake_checkpoints import discard_training
from habla_ml.training.lease import list_unfinished_trainings


def discard_affected_trainings(lake: Lake, rewriter: PointerRewriter) -> int:
    """Delete the trainings from the lake whose snapshot had erased segments; return their number.

    Raises `TrainingLeasedError` if a process trains one of them, on whatever machine; run again when it has ended.
    """
    affected = [each for each in list_unfinished_trainings(lake) if _is_replaced(each.identity.snapshot, rewriter)]
    for each in affected:
        discard_training(lake, each)
    return len(affected)


def find_affected_checkpoints(training_folder: Path, rewriter: PointerRewriter) -> Iterator[Path]:
    """Yield the folders of checkpoints below a version's folder whose snapshot had erased segments."""
    for checkpoints in sorted(training_folder.glob("*/checkpoints")):
        stamps = sorted(checkpoints.glob(f"*/{STAMP_FILE}"))
        if stamps:
            identity = CheckpointStamp.model_validate_json(stamps[0].read_bytes()).identity
            if _is_replaced(identity.snapshot, rewriter):
                yield checkpoints


def _is_replaced(snapshot: str, rewriter: PointerRewriter) -> bool:
    """Return whether a snapshot has erased segments, or is gone since it had; an empty one belongs to a first stage."""
    if not snapshot:
        return False
    return snapshot not in rewriter.present_ids or rewriter.rewrite_object(snapshot) != snapshot
