"""Checkpoints of unfinished trainings in the lake: stored in a thread, pruned, and restored on another machine.

The lake has of each training the latest complete one, and the weights of the best validations, which are published in the
end. A new one replaces them when it is stored whole. The files that it replaces are deleted at once, unless a
published model has the same ones; a checkpoint of Whisper small takes 3 GB.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from habla_ml.errors import ObjectMissingError, TrainingError, TrainingLeasedError, describe_error
from habla_ml.lake import Lake, catalogue
from habla_ml.training.checkpoints import (
    STAMP_FILE,
    CheckpointStamp,
    find_latest_checkpoint,
    get_checkpoint_folder,
    stamp_checkpoint,
)
from habla_ml.training.identity import RunIdentity
from habla_ml.training.lease import (
    HeldLease,
    StoredCheckpoint,
    UnfinishedTraining,
    hold_lease,
    list_unfinished_trainings,
)
from habla_ml.training.remedies import Remedies, write_remedies

_RESUME_FILES: Final = ("optimizer*", "scheduler*", "scaler*")
"""Files of a checkpoint that only its next step needs."""
_LARGE_SUFFIXES: Final = {".safetensors", ".pt", ".pth", ".bin"}
"""Files that are deleted at once. The others are small; a cleanup deletes them."""


class CheckpointStore:
    """Stores checkpoints of one training, one at a time, in a thread that the training does not wait for."""

    def __init__(self, lake: Lake, lease: HeldLease, folder: Path) -> None:
        """Keep the files of a checkpoint in `folder`, on the file system of the checkpoints, while they are sent."""
        self._lake, self._lease, self._folder = lake, lease, folder
        self._sending: threading.Thread | None = None
        self._result: str | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is being sent."""
        return self._sending is not None and self._sending.is_alive()

    def take_result(self) -> str | None:
        """Return what became of the last checkpoint, once, as a sentence; None if there is nothing new."""
        if self.is_busy:
            return None
        result, self._result = self._result, None
        return result

    def start(self, checkpoints: Path, step: int, best_steps: Sequence[int], remedies: Remedies) -> None:
        """Store the checkpoint of `step` and the weights of `best_steps`; the caller has seen that no other is sent."""
        self._keep_files(checkpoints, step, best_steps)
        arguments = (step, best_steps, remedies)
        self._sending = threading.Thread(target=self._send, args=arguments, name="checkpoint", daemon=True)
        self._sending.start()

    def wait(self) -> None:
        """Return when no checkpoint is being sent."""
        if self._sending is not None:
            self._sending.join()

    def _keep_files(self, checkpoints: Path, step: int, best_steps: Sequence[int]) -> None:
        """Give the files a second name, so that the training can delete its own."""
        shutil.rmtree(self._folder, ignore_errors=True)
        _link_files(get_checkpoint_folder(checkpoints, step), self._folder / "latest", ())
        for each in best_steps:
            _link_files(get_checkpoint_folder(checkpoints, each), self._folder / str(each), _RESUME_FILES)

    def _send(self, step: int, best_steps: Sequence[int], remedies: Remedies) -> None:
        before = self._lease.training.checkpoint
        known = {} if before is None else before.best
        try:
            tree = self._lake.put_tree(self._folder / "latest")
            best = {each: known.get(each) or self._lake.put_tree(self._folder / str(each)) for each in best_steps}
            now = StoredCheckpoint(step=step, tree=tree, best=best, remedies=remedies)
            self._lease.store(now)
            self._result = f"the checkpoint of step {step} is in the lake"
            if before is not None:
                delete_unneeded_files(self._lake, before)
        except TrainingLeasedError:
            return  # the training finds out at its next step
        except Exception as error:  # noqa: BLE001 (whatever a store raises, the training must go on)
            self._result = (
                f"the checkpoint of step {step} could not be stored in {self._lake.url} completely, which is tried again: "
                f"{describe_error(error)}"
            )
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def restore_checkpoint(lake: Lake, identity: RunIdentity, stored: StoredCheckpoint, checkpoints: Path) -> str | None:
    """Copy a checkpoint of the lake to `checkpoints`, unless a later one is there; return what was done, if anything.

    The remedies of the run come with it. Raises `LakeError` if the lake cannot be read.
    """
    present = find_latest_checkpoint(checkpoints, identity)
    if present is not None and present.stamp.step >= stored.step:
        return None
    restored = checkpoints.with_name("restored")
    shutil.rmtree(restored, ignore_errors=True)
    trees = {**stored.best, stored.step: stored.tree}  # the complete one, where both are of one step
    try:
        for step, tree in trees.items():
            folder = lake.checkout_tree(tree, get_checkpoint_folder(restored, step))
            stamp_checkpoint(folder, CheckpointStamp.model_validate_json((folder / STAMP_FILE).read_bytes()))
            for each in lake.list_tree_files(tree):
                lake.drop_cached(each.sha256)
    except ObjectMissingError as error:
        shutil.rmtree(restored, ignore_errors=True)
        return f"the checkpoint of step {stored.step} in the lake is incomplete and is not used: {error}"
    shutil.rmtree(checkpoints, ignore_errors=True)
    write_remedies(checkpoints.parent, stored.remedies)  # first: a process killed before the rename restores both again
    restored.rename(checkpoints)
    return f"the checkpoint of step {stored.step} comes from the lake"


def discard_training(lake: Lake, training: UnfinishedTraining) -> None:
    """Delete an unfinished training and its checkpoint from the lake.

    Raises `TrainingLeasedError` if a process trains it.
    """
    with hold_lease(lake, training.identity, training.version, None) as lease:
        checkpoint = lease.training.checkpoint
        lease.finish()
        if checkpoint is not None:
            delete_unneeded_files(lake, checkpoint)


def handle_foreign_checkpoints(lake: Lake, identity: RunIdentity, *, discard: bool) -> None:
    """Find unfinished trainings in the lake as `handle_foreign_runs` does in a folder.

    Raises:
        TrainingError: There is one with a checkpoint, and `discard` is false, or a process trains it.
    """
    for each in list_unfinished_trainings(lake):
        if each.identity == identity or each.checkpoint is None or not identity.has_inputs_of(each.identity):
            continue
        if discard:
            discard_training(lake, each)
        else:
            raise TrainingError(
                f"{lake.url} has step {each.checkpoint.step} of this training, made with "
                f"{identity.describe_differences(each.identity)}; resume it on such a machine, or train from the start with "
                "train_again or --again"
            )


def delete_unneeded_files(lake: Lake, checkpoint: StoredCheckpoint) -> None:
    """Delete the large files of a checkpoint that no pointer names any more.

    Equal bytes are one object, and two versions of one identity have equal weights. So the files of all checkpoints in
    the lake are kept.
    """
    old = {sha256 for tree in checkpoint.trees for sha256 in _list_large_files(lake, tree)}
    for tree in _list_named_trees(lake):
        if not old:
            return
        old -= _list_large_files(lake, tree)
    for sha256 in sorted(old):
        lake.delete_unused_object(sha256, datetime.now(UTC))


def _list_named_trees(lake: Lake) -> Iterator[str]:
    """Yield the trees of all checkpoints, of published versions and first stages, of the hub and of unfinished trainings."""
    for each in list_unfinished_trainings(lake):
        if each.checkpoint is not None:
            yield from each.checkpoint.trees
    for family in (catalogue.CHECKPOINT, catalogue.FIRST_STAGE, catalogue.HUB_START):
        for pointer in family.read(lake).list_pointers():
            yield str(pointer.value["tree"])


def _list_large_files(lake: Lake, tree: str) -> set[str]:
    with suppress(ObjectMissingError):
        return {each.sha256 for each in lake.list_tree_files(tree) if Path(each.path).suffix in _LARGE_SUFFIXES}
    return set()


def _link_files(source: Path, target: Path, left_out: tuple[str, ...]) -> None:
    """Give the files in `source` names in the new folder `target`, or copy them where the file system has no links."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file() and not any(path.match(pattern) for pattern in left_out):
            try:
                os.link(path, target / path.name)
            except OSError:
                shutil.copyfile(path, target / path.name)
