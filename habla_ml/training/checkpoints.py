"""Training checkpoints with their curves: complete ones have a stamp file, and only those of the same run are resumed.

`Trainer` writes a checkpoint file by file. The stamp is written last, after all other files are synced to disk. A
checkpoint without a stamp is incomplete and is deleted. Validation is the WER of greedy decoding on a few clips;
`evaluation` compares versions.
"""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from habla_ml.code_identity import CodeIdentity
from habla_ml.process import sync_folder
from habla_ml.training.identity import RunIdentity

_CHECKPOINT_PREFIX = "checkpoint-"
STAMP_FILE = "habla_ml.json"
_OPTIMISER_FILE = "optimizer.pt"
"""Twice as large as the trained weights, and needed to resume."""
_NON_WORD_CHARACTERS = re.compile(r"[^\w\s]|_")


class ValidationPoint(BaseModel):
    """One evaluation during training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    wer: float
    """Word errors per reference word; above 1 if the model inserts many words."""
    loss: float
    """Mean over the batches of the validation, all clips included."""
    general_wer: float | None = None
    """WER on general speech; None if it is not validated, as is the next one."""
    invented: float | None = None
    """Share of clips without speech for which text is served."""

    def to_progress(self) -> dict[str, float | None]:
        """Return its figures under the names of a progress report."""
        return {"validation_wer": self.wer, "general_wer": self.general_wer, "invented": self.invented}

    def describe(self) -> str:
        """Return its figures for a line of the log."""
        text = f"validation WER {self.wer:.1%}"
        if self.general_wer is not None:
            text += f", general speech {self.general_wer:.1%}"
        return text if self.invented is None else f"{text}, text in {self.invented:.0%} of the clips without speech"


class CheckpointStamp(BaseModel):
    """Run and step of a complete checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: RunIdentity
    step: int
    elapsed_s: float
    """Training time so far, over all attempts."""
    stopped: bool
    code: tuple[CodeIdentity, ...] = ()
    """The code of all attempts so far, the oldest first; each once."""
    processes: tuple[int, ...] = (1,)
    """How many processes computed together: the number of the first attempt, and each other number after it."""


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


def get_checkpoint_folder(folder: Path, step: int) -> Path:
    """Return the folder in which `Trainer` writes the checkpoint of `step`."""
    return folder / f"{_CHECKPOINT_PREFIX}{step}"


def stamp_checkpoint(folder: Path, stamp: CheckpointStamp) -> None:
    """Sync a written checkpoint to disk, then write its stamp."""
    partial = folder / f".{STAMP_FILE}"
    partial.write_text(stamp.model_dump_json(indent=2), "utf-8")
    sync_folder(folder)
    partial.replace(folder / STAMP_FILE)
    sync_folder(folder)


def find_latest_checkpoint(folder: Path, identity: RunIdentity) -> Checkpoint | None:
    """Return the latest complete checkpoint in `folder` that can be resumed, and delete incomplete ones.

    Raises:
        TrainingError: A complete checkpoint belongs to another run.
    """
    stamps: dict[Path, CheckpointStamp] = {}
    for path in sorted(folder.glob(f"{_CHECKPOINT_PREFIX}*")):
        if not (path / STAMP_FILE).exists():
            shutil.rmtree(path)
            continue
        stamp = CheckpointStamp.model_validate_json((path / STAMP_FILE).read_bytes())
        identity.check_same_run(stamp.identity, str(path))
        if (path / _OPTIMISER_FILE).exists():
            stamps[path] = stamp
    if not stamps:
        return None
    path, stamp = max(stamps.items(), key=lambda each: each[1].step)
    state = json.loads((path / "trainer_state.json").read_text("utf-8"))
    return Checkpoint(path, stamp, state["log_history"])


def prune_checkpoints(folder: Path, keep: set[int]) -> None:
    """Delete all checkpoints in `folder` except those of the steps in `keep`; only the last of them keeps its optimiser."""
    kept = {get_checkpoint_folder(folder, step) for step in keep}
    for path in folder.glob(f"{_CHECKPOINT_PREFIX}*"):
        if path not in kept:
            shutil.rmtree(path)
    for step in sorted(keep)[:-1]:
        (get_checkpoint_folder(folder, step) / _OPTIMISER_FILE).unlink(missing_ok=True)


def extract_validation_curve(log: Sequence[dict[str, Any]]) -> tuple[ValidationPoint, ...]:
    """Return the evaluations in a trainer's log."""
    evaluations = (each for each in log if "eval_wer" in each)
    return tuple(make_point(each["step"], each) for each in evaluations)


def make_point(step: int, metrics: Mapping[str, float]) -> ValidationPoint:
    """Return the evaluation with a trainer's metrics."""
    return ValidationPoint(
        step=step,
        wer=metrics["eval_wer"],
        loss=metrics["eval_loss"],
        general_wer=metrics.get("eval_general_wer"),
        invented=metrics.get("eval_invented"),
    )


def extract_loss_curve(log: Sequence[dict[str, Any]]) -> tuple[LossPoint, ...]:
    """Return the training losses in a trainer's log."""
    return tuple(LossPoint(each["step"], each["loss"], each["learning_rate"]) for each in log if "loss" in each)


def compute_word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return (S + D + I) / reference words over all pairs, in lower case and without punctuation."""
    import jiwer

    texts = zip(map(_normalise_words, references), map(_normalise_words, hypotheses), strict=True)
    pairs = [(reference, hypothesis) for reference, hypothesis in texts if reference]
    if not pairs:
        return 0.0
    return float(jiwer.process_words([each for each, _ in pairs], [each for _, each in pairs]).wer)


def _measure_no_excess(_: ValidationPoint) -> float:
    return 0.0


def find_best_point(
    curve: Sequence[ValidationPoint], measure_excess: Callable[[ValidationPoint], float] = _measure_no_excess
) -> ValidationPoint:
    """Return the first of the ranked points."""
    return rank_points(curve, measure_excess)[0]


def rank_points(
    curve: Sequence[ValidationPoint], measure_excess: Callable[[ValidationPoint], float] = _measure_no_excess
) -> list[ValidationPoint]:
    """Return the points by the least excess over bounds, then the lowest WER, the lowest loss and the earliest step."""
    return sorted(curve, key=lambda point: (measure_excess(point), point.wer, point.loss, point.step))


def is_patience_exhausted(
    curve: Sequence[ValidationPoint],
    patience: int,
    measure_excess: Callable[[ValidationPoint], float] = _measure_no_excess,
) -> bool:
    """Return whether the last `patience` evaluations are no better than the earlier ones."""
    if len(curve) <= patience:
        return False
    return find_best_point(curve, measure_excess).step <= curve[-patience - 1].step


def _normalise_words(text: str) -> str:
    return " ".join(_NON_WORD_CHARACTERS.sub(" ", unicodedata.normalize("NFC", text).lower()).split())
