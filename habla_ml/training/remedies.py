"""Remedies of a run whose memory is too small or whose loss is not finite: it goes on from its last checkpoint.

Too little memory: each batch passes the model in more parts, one after another. Their gradients add up to that of the whole
batch, so a step keeps its clips, their order and its effective size. A loss that is not finite: the rest of the run has a
lower learning rate, once. The run's folder keeps the remedies, and a resumed run starts with them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

from habla_ml.errors import TrainingError

if TYPE_CHECKING:
    import torch

_FILE: Final = "remedies.json"
_LOWER_RATE: Final = 0.25


class Remedies(BaseModel):
    """How the rest of a run differs from its recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_parts: int = 1
    """In how many parts each batch passes the model."""
    learning_rate_factor: float = 1.0


class NotFiniteError(TrainingError):
    """The loss is infinite or not a number."""


def read_remedies(folder: Path) -> Remedies:
    """Return the remedies of the run in `folder`."""
    file = folder / _FILE
    return Remedies.model_validate_json(file.read_bytes()) if file.exists() else Remedies()


def write_remedies(folder: Path, remedies: Remedies) -> None:
    """Store the remedies of the run in `folder`, atomically."""
    unfinished = folder / f".{_FILE}.{os.getpid()}"  # several processes may have the same fault
    unfinished.write_text(remedies.model_dump_json(), "utf-8")
    unfinished.replace(folder / _FILE)


def delete_remedies(folder: Path) -> None:
    """Forget the remedies of the run in `folder`."""
    (folder / _FILE).unlink(missing_ok=True)


def choose_remedies(error: Exception, present: Remedies, largest_batch: int) -> Remedies | None:
    """Return the remedies for an error of a run; None where there is none for it.

    `largest_batch` is the number of clips that pass the model together without remedies.

    Raises:
        TrainingError: The remedy was applied already, or batches have single clips.
    """
    if isinstance(error, NotFiniteError):
        if present.learning_rate_factor < 1:
            raise TrainingError(
                f"{error}. The run was already restored once with {present.learning_rate_factor:g} of this rate"
            ) from error
        return present.model_copy(update={"learning_rate_factor": _LOWER_RATE})
    if not is_out_of_memory(error):
        return None
    if present.batch_parts >= largest_batch:
        raise TrainingError(
            "the memory is too small for a single clip; set gradient_checkpointing: true, train adapters (method: lora) or "
            "choose a smaller base_model in the recipe"
        ) from error
    return present.model_copy(update={"batch_parts": min(2 * present.batch_parts, largest_batch)})


def describe_change(error: Exception, before: Remedies, after: Remedies, step: int) -> str:
    """Return what went wrong and how the run goes on from the checkpoint of `step`; 0 is its start."""
    origin = f"the checkpoint of step {step}" if step else "the start"
    if after.batch_parts != before.batch_parts:
        return (
            f"out of memory; going on from {origin} with each batch in {after.batch_parts} parts, "
            "which gives the same steps and takes less memory"
        )
    return f"{error}. Going on from {origin} with {after.learning_rate_factor:g} of the learning rate"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the memory of the GPU or the machine was too small for an allocation."""
    import torch

    # PyTorch's allocator of the CPU raises a plain RuntimeError.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


def apply_remedies(trainer_class: type[Any], remedies: Remedies) -> type[Any]:
    """Return a subclass of a `Trainer` that trains with the remedies; its loss is a sum over tokens divided by a given number."""

    class RemediedTrainer(trainer_class):  # type: ignore[misc]
        def create_scheduler(self, *arguments: Any, **named: Any) -> Any:
            scheduler = super().create_scheduler(*arguments, **named)
            factor = remedies.learning_rate_factor
            scheduler.lr_lambdas = [partial(_scale, each, factor) for each in scheduler.lr_lambdas]
            return scheduler

        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            super()._load_optimizer_and_scheduler(checkpoint)
            # The loaded states have the rate before the factor.
            scheduler = self.lr_scheduler
            scales = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
            scheduler._last_lr = [base * scale(scheduler.last_epoch) for base, scale in scales]
            for group, rate in zip(self.optimizer.param_groups, scheduler._last_lr, strict=True):
                group["lr"] = rate

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            *earlier, last = split_batch(inputs, remedies.batch_parts)
            losses = []
            for part in earlier:
                with self.accelerator.no_sync(model):  # several processes exchange the gradients of all parts once
                    losses.append(super().training_step(model, part, num_items_in_batch))
            return sum([*losses, super().training_step(model, last, num_items_in_batch)])

    return RemediedTrainer


def _scale(schedule: Callable[[int], float], factor: float, step: int) -> float:
    return factor * schedule(step)


def split_batch(inputs: dict[str, torch.Tensor], parts: int) -> list[dict[str, torch.Tensor]]:
    """Split tensors with the clips in their first dimension into at most `parts` nearly equal batches, in order."""
    n_clips = len(next(iter(inputs.values())))
    pieces = {key: tensor.tensor_split(min(parts, n_clips)) for key, tensor in inputs.items()}
    return [{key: tensors[at] for key, tensors in pieces.items()} for at in range(min(parts, n_clips))]
