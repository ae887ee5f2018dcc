"""Validation of a model outside the steps of its run: of the initial one, and of a mean of checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from habla_ml.training.checkpoint_bounds import CheckpointBounds
from habla_ml.training.checkpoints import ValidationPoint, make_point
from habla_ml.training.model_folder import load_whisper_model
from habla_ml.training.trainer import PreparedRun, Progress, build_trainer
from habla_ml.training.world import World

_START_FILE: Final = "start_validation.json"


def validate_model(model: Any, run: PreparedRun, step: int) -> ValidationPoint:
    """Validate `model` on the clips of a run, in this process alone; `step` names it."""
    model.generation_config.update(language="es", task="transcribe", forced_decoder_ids=None)
    alone = World()  # the other processes of a training wait for the next attempt
    trainer = build_trainer(model, run, None, alone)
    return make_point(step, trainer.evaluation_loop(trainer.get_eval_dataloader()).metrics)


def find_bounds(run: PreparedRun, start: Path) -> CheckpointBounds:
    """Return the bounds of a run's checkpoints; validates the model in `start` once, and no model without bounds."""
    settings = run.recipe.validation_bounds
    if settings is None:
        return CheckpointBounds()
    point = read_start_validation(run)
    if point is None:
        point = validate_model(load_whisper_model(start), run, 0)
        run.report_progress(Progress(f"before training: {point.describe()}"))
        run.checkpoints.mkdir(parents=True, exist_ok=True)
        unfinished = run.checkpoints / f".{_START_FILE}"
        unfinished.write_text(point.model_dump_json(), "utf-8")
        unfinished.replace(run.checkpoints / _START_FILE)
    general_wer = None if point.general_wer is None else point.general_wer + settings.most_forgetting
    return CheckpointBounds(general_wer, settings.most_invented)


def read_start_validation(run: PreparedRun) -> ValidationPoint | None:
    """Return the validation of the model that the run started from; None without one."""
    file = run.checkpoints / _START_FILE
    return ValidationPoint.model_validate_json(file.read_bytes()) if file.exists() else None
