"""What protects a training against the end of its machine: the lease, checkpoints in the lake, and requests to end.

`keep_training` surrounds a training from the restored checkpoint to the published result. The steps in between meet it in
one callback of the trainer and in `TrainingKeeper.watch`. Of several processes of one training only the first has a keeper.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from habla_ml.errors import LakeError, TrainingLeasedError
from habla_ml.lake import Lake, catalogue
from habla_ml.training.checkpoint_bounds import CheckpointBounds
from habla_ml.training.checkpoints import extract_validation_curve, rank_points
from habla_ml.training.identity import RunIdentity
from habla_ml.training.lake_checkpoints import (
    CheckpointStore,
    delete_unneeded_files,
    discard_training,
    restore_checkpoint,
)
from habla_ml.training.lease import HeldLease, hold_lease, read_unfinished_training
from habla_ml.training.remedies import Remedies
from habla_ml.training.termination import TerminationNotice, watch_termination


class TrainingKeeper:
    """The lease on one training and its checkpoints in the lake."""

    def __init__(
        self, lake: Lake, lease: HeldLease, root: Path, store_every_s: float | None, report: Callable[[str], None]
    ) -> None:
        self._lake, self._lease, self._store_every_s, self._report = lake, lease, store_every_s, report
        self._store = CheckpointStore(lake, lease, root / "stored")
        self._stored_at = time.monotonic()
        self._notice = TerminationNotice()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """While steps are trained, let a request to end save a checkpoint first."""
        with watch_termination() as self._notice:
            yield

    def keep_stage(self, identity: RunIdentity, root: Path) -> AbstractContextManager[TrainingKeeper]:
        """Keep the first stage of this training too, with the arguments of `keep_training`."""
        version = self._lease.training.version
        return keep_training(self._lake, version, self._store_every_s, identity, root, self._report)

    def confirm_lease(self) -> None:
        """Renew the lease, immediately before the result is published; raises the errors of `HeldLease.renew`."""
        self._lease.renew()

    def finish(self) -> None:
        """Delete the checkpoint in the lake, because the result is published."""
        self._store.wait()
        checkpoint = self._lease.training.checkpoint
        try:
            self._lease.finish()
            if checkpoint is not None:
                delete_unneeded_files(self._lake, checkpoint)
        except (LakeError, TrainingLeasedError) as error:
            self._report(f"a checkpoint of the finished training stays in the lake until a cleanup: {error}")

    def build_callback(self, checkpoints: Path, remedies: Remedies, n_best: int, bounds: CheckpointBounds) -> Any:
        """Return a callback of the trainer that stores checkpoints, with the weights of the `n_best` best validations.

        It comes after the callback that stamps checkpoints.
        """
        from transformers import TrainerCallback

        keeper = self

        class KeeperCallback(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, _args: Any, _state: Any, control: Any, model: Any = None, **_: Any) -> None:
                keeper._lease.check()
                keeper._report_problems()
                if keeper._notice.is_received or keeper._is_due():
                    # Between two validations nothing else refuses a model that has diverged.
                    control.should_save = control.should_save or has_finite_weights(model)
                    if keeper._notice.is_received and not control.should_save:
                        raise keeper._notice.make_error(None)

            def on_save(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
                is_last = keeper._notice.is_received
                if is_last or (keeper._is_due() and not control.should_training_stop):
                    best = rank_points(extract_validation_curve(state.log_history), bounds.measure_excess)[:n_best]
                    keeper._save(checkpoints, state.global_step, [point.step for point in best], remedies)
                if is_last:
                    raise keeper._notice.make_error(state.global_step)

        return KeeperCallback()

    def _is_due(self) -> bool:
        if self._store_every_s is None or self._store.is_busy:
            return False
        return time.monotonic() - self._stored_at >= self._store_every_s

    def _save(self, checkpoints: Path, step: int, best_steps: Sequence[int], remedies: Remedies) -> None:
        if self._store_every_s is None:
            return
        self._store.wait()  # only after a request to end
        self._stored_at = time.monotonic()
        self._store.start(checkpoints, step, best_steps, remedies)
        if self._notice.is_received:
            self._store.wait()
            self._report_problems()

    def _report_problems(self) -> None:
        if (result := self._store.take_result()) is not None:
            self._report(result)
        if (problem := self._lease.take_problem()) is not None:
            self._report(f"the lease on this training could not be renewed, which is tried again: {problem}")


def has_finite_weights(model: Any) -> bool:
    """Return whether all weights of a model are numbers."""
    return all(bool(weights.isfinite().all()) for weights in model.parameters())


@contextmanager
def keep_training(
    lake: Lake,
    version: str,
    store_every_s: float | None,
    identity: RunIdentity,
    root: Path,
    report: Callable[[str], None],
) -> Iterator[TrainingKeeper]:
    """Hold the lease on a training, and restore its checkpoint from the lake if that is later than the local one.

    Args:
        lake: The lake of lease and checkpoints.
        version: Model version, for messages.
        store_every_s: Interval of checkpoints in the lake; None stores none.
        identity: The training.
        root: Its folder, with `checkpoints/`; the caller holds the lock of the folder above.
        report: Gets what happens, a sentence each, in the calling thread.

    Raises:
        TrainingLeasedError: Another process trains it.
        LakeError: The lake cannot be read or written.
    """
    with hold_lease(lake, identity, version, root / "lease") as lease:
        stored = lease.training.checkpoint
        if stored is not None and not (root / "finished").exists():
            restored = restore_checkpoint(lake, identity, stored, root / "checkpoints")
            if restored is not None:
                report(restored)
        yield TrainingKeeper(lake, lease, root, store_every_s, report)


def discard_published_training(lake: Lake, identity_digest: str) -> None:
    """Delete what a process left in the lake that was killed after it had published this training."""
    pointer = lake.read_pointer(catalogue.UNFINISHED_TRAINING.name(identity_digest))
    if pointer is not None:
        try:
            discard_training(lake, read_unfinished_training(pointer))
        except TrainingLeasedError:
            return  # it publishes at this moment, or was killed a minute ago: a cleanup deletes it
