"""Training checkpoints: complete ones have a stamp file, and only a stamped one of the same run is resumed.

`Trainer` writes a checkpoint file by file. The stamp is written last, after all other files are synced to disk. A
checkpoint without a stamp is incomplete and is deleted.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from habla_ml.training.identity import RunIdentity
from habla_ml.training.validation import ValidationPoint

_CHECKPOINT_PREFIX = "checkpoint-"
_STAMP_FILE = "habla_ml.json"


class CheckpointStamp(BaseModel):
    """Run and step of a complete checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: RunIdentity
    step: int
    elapsed_s: float
    """Training time so far, over all attempts."""
    stopped: bool
    """Whether the run ended at this step."""


@dataclass(frozen=True)
class LossPoint:
    """Mean training loss since the previous point, and the learning rate."""

    step: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint and its training log."""

    folder: Path
    stamp: CheckpointStamp
    log: Sequence[dict[str, Any]]
    """`Trainer`'s log entries up to this step."""


def get_checkpoint_folder(folder: Path, step: int) -> Path:
    """Return the folder in which `Trainer` writes the checkpoint of `step`."""
    return folder / f"{_CHECKPOINT_PREFIX}{step}"


def stamp_checkpoint(folder: Path, stamp: CheckpointStamp) -> None:
    """Sync a written checkpoint to disk, then write its stamp."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            _sync_to_disk(path)
    partial = folder / f".{_STAMP_FILE}"
    partial.write_text(stamp.model_dump_json(indent=2), "utf-8")
    _sync_to_disk(partial)
    partial.replace(folder / _STAMP_FILE)
    _sync_to_disk(folder)


def find_latest_checkpoint(folder: Path, identity: RunIdentity) -> Checkpoint | None:
    """Return the latest complete checkpoint in `folder`, and delete incomplete ones.

    Raises:
        TrainingError: A complete checkpoint belongs to another run.
    """
    found = []
    for path in sorted(folder.glob(f"{_CHECKPOINT_PREFIX}*")):
        stamp_file = path / _STAMP_FILE
        if not stamp_file.exists():
            shutil.rmtree(path)
            continue
        stamp = CheckpointStamp.model_validate_json(stamp_file.read_bytes())
        identity.check_same_run(stamp.identity, str(path))
        found.append((stamp.step, path, stamp))
    if not found:
        return None
    _, path, stamp = max(found)
    state = json.loads((path / "trainer_state.json").read_text("utf-8"))
    return Checkpoint(path, stamp, state["log_history"])


def prune_checkpoints(folder: Path, keep: set[int]) -> None:
    """Delete all checkpoints in `folder` except those of the steps in `keep`."""
    kept = {get_checkpoint_folder(folder, step) for step in keep}
    for path in folder.glob(f"{_CHECKPOINT_PREFIX}*"):
        if path not in kept:
            shutil.rmtree(path)


def extract_validation_curve(log: Sequence[dict[str, Any]]) -> tuple[ValidationPoint, ...]:
    """Return the evaluations in a trainer's log."""
    return tuple(
        ValidationPoint(step=entry["step"], wer=entry["eval_wer"], loss=entry["eval_loss"])
        for entry in log
        if "eval_wer" in entry
    )


def extract_loss_curve(log: Sequence[dict[str, Any]]) -> tuple[LossPoint, ...]:
    """Return the training losses in a trainer's log."""
    return tuple(
        LossPoint(step=entry["step"], loss=entry["loss"], learning_rate=entry["learning_rate"])
        for entry in log
        if "loss" in entry
    )


def _sync_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
