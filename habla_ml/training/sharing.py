"""The parts of each optimiser step that the processes of a training compute.

The schedule does not depend on their number. The batches of a step, and where those are fewer than processes the clips of a
batch, are divided over them. Each process has the same number of passes in a step, because gradients are exchanged in the
last one. One without a clip of its own passes a clip that does not count.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from habla_ml.training.clips import ClipLoader
from habla_ml.training.schedule import ClipUse, StepSchedule, WindowedBatch
from habla_ml.training.targets import IGNORED_LABEL
from habla_ml.training.windows import FRAMES_PER_S
from habla_ml.training.world import World, gather

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_USES: Final = "uses"
"""Key of a batch: clip and pass number of each use, [clips, 2]."""


class SharedUse(NamedTuple):
    """One use of a clip in a process."""

    use: ClipUse
    counts: bool = True
    """Whether its labels count in the loss."""


def count_passes(batches_per_step: int, world: World) -> int:
    """Return the passes of each process in an optimiser step."""
    return -(-batches_per_step // world.size)


def divide_step(step: Sequence[WindowedBatch], world: World) -> list[list[SharedUse]]:
    """Return the passes of this process in a step: lists of clips, equally many in each process.

    The most expensive passes of a step are in different processes, since all wait for the slowest.
    """
    if world.size == 1:
        return [[SharedUse(use) for use in batch.uses()] for batch in step]
    n_needed = world.size * count_passes(len(step), world)
    n_parts = [1] * len(step)
    for _ in range(n_needed - len(step)):
        costs = [_measure_part(batch, n) if n < len(batch.clips) else 0 for batch, n in zip(step, n_parts, strict=True)]
        if not max(costs):
            break
        n_parts[costs.index(max(costs))] += 1
    parts = [
        [SharedUse(batch.uses()[at]) for at in indices.tolist()]
        for batch, n in zip(step, n_parts, strict=True)
        for indices in np.array_split(np.arange(len(batch.clips)), n)
    ]
    parts.sort(key=lambda part: len(part) * part[0].use.n_frames, reverse=True)
    idle = [SharedUse(parts[-1][0].use, counts=False)]
    parts += [idle] * (n_needed - len(parts))
    rows = [parts[first : first + world.size] for first in range(0, n_needed, world.size)]
    return [row[world.rank] if index % 2 == 0 else row[::-1][world.rank] for index, row in enumerate(rows)]


def _measure_part(batch: WindowedBatch, n_parts: int) -> int:
    """Return the encoder's input of the largest of `n_parts` parts of a batch, mel frames."""
    return -(-len(batch.clips) // n_parts) * batch.n_frames


@dataclass(frozen=True)
class SharedBatchSampler:
    """Batch sampler with the clips of each pass of this process, from the first step on."""

    schedule: StepSchedule
    batches_per_step: int
    world: World

    def __len__(self) -> int:
        return self.schedule.max_steps * count_passes(self.batches_per_step, self.world)

    def __iter__(self) -> Iterator[list[SharedUse]]:
        for step in islice(self.schedule.steps(), self.schedule.max_steps):
            yield from divide_step(step, self.world)

    def measure_largest_s(self) -> NDArray[np.float64]:
        """Return the encoder's input of the largest pass in the first n steps, s, at index n."""
        passes = [sum(shared.use.n_frames for shared in each) / FRAMES_PER_S for each in self]
        by_step = np.array(passes).reshape(-1, count_passes(self.batches_per_step, self.world)).max(1)
        return np.maximum.accumulate(np.concatenate([[0.0], by_step]))


@dataclass(frozen=True)
class SharedClipLoader:
    """Dataset and collate function over the uses of clips in a process."""

    clips: ClipLoader

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, shared: SharedUse) -> tuple[SharedUse, Any]:
        """Return a use and what a `ClipLoader` reads for it."""
        return shared, self.clips[shared.use]

    def collate(self, batch: Sequence[tuple[SharedUse, Any]]) -> dict[str, torch.Tensor]:
        """Return the tensors of a `ClipLoader` and those of `uses`."""
        import torch

        tensors = self.clips.collate([item for _, item in batch])
        for row, (shared, _) in enumerate(batch):
            if not shared.counts:
                tensors["labels"][row] = IGNORED_LABEL
        tensors[_USES] = torch.tensor([[each.use.clip, each.use.pass_number] for each, _ in batch])
        return tensors


def share_training(trainer_class: type[Any], seed: int, world: World) -> type[Any]:
    """Return a subclass of a `Trainer` for one of several processes.

    What is random in a pass depends on the recipe's seed and on its first clip and pass number. A resumed run therefore
    needs no random state, and equal batches have equal dropout in any number of processes.
    """
    from transformers.trainer_utils import EvalLoopOutput, EvalPrediction

    class SharedTrainer(trainer_class):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            clip, pass_number = inputs.pop(_USES)[0].tolist()
            _seed_pass(seed, clip, pass_number)
            return super().training_step(model, inputs, num_items_in_batch)

        def compute_loss(self, *arguments: Any, **named: Any) -> Any:
            # The gradients of the processes are averaged, but the loss is already divided by the labels of all.
            found = super().compute_loss(*arguments, **named)
            return (found[0] * world.size, *found[1:]) if isinstance(found, tuple) else found * world.size

        def _save_rng_state(self, _folder: str) -> None:
            pass

        def _load_rng_state(self, _folder: str) -> None:
            pass

        def evaluation_loop(self, dataloader: Any, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> Any:
            self.model.eval()
            own = []
            for inputs in _take_share(dataloader, world):
                loss, ids, labels = self.prediction_step(self.model, inputs, False)
                own.append((float(loss), ids.cpu().numpy(), labels.cpu().numpy()))
            scored = own if world.size == 1 else [batch for batches in gather(own) for batch in batches]
            losses = np.concatenate([np.full(len(labels), loss) for loss, _, labels in scored])
            ids, labels = _pad([each for _, each, _ in scored]), _pad([each for _, _, each in scored])
            found = self.compute_metrics(EvalPrediction(predictions=ids, label_ids=labels))
            metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
            metrics[f"{metric_key_prefix}_loss"] = float(losses.mean())
            return EvalLoopOutput(predictions=ids, label_ids=labels, metrics=metrics, num_samples=len(losses))

    return SharedTrainer


def _take_share(dataloader: Any, world: World) -> Any:
    """Return a loader of every n-th batch for this process of n."""
    from torch.utils.data import DataLoader

    if world.size == 1:
        return dataloader
    keys = list(dataloader.batch_sampler)[world.rank :: world.size]
    return DataLoader(dataloader.dataset, batch_sampler=keys, collate_fn=dataloader.collate_fn)


def _pad(batches: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the rows of all batches, padded to one length."""
    longest = max(batch.shape[1] for batch in batches)
    fill = IGNORED_LABEL
    return np.concatenate([np.pad(b, ((0, 0), (0, longest - b.shape[1])), constant_values=fill) for b in batches])


def _seed_pass(seed: int, clip: int, pass_number: int) -> None:
    """Set all generators that a model uses."""
    import torch

    state = int(np.random.SeedSequence([seed, pass_number, clip]).generate_state(1)[0])
    random.seed(state)
    np.random.seed(state)  # Transformers' SpecAugment uses the global generator
    torch.manual_seed(state)
