"""The lease on an unfinished training: one process at a time trains it, on whatever machine.

The pointer `trainings/<identity digest>` has the lease and the last checkpoint in the lake. Each change of it is a
compare-and-set by the holder, so a process that lost its lease can store no checkpoint, even if it was paused for hours
and has not noticed. The lease ends by itself if its holder does not renew it. Another machine waits `CLOCK_SKEW_S` longer:
the clocks of two machines may differ by that much.

In the same folder a new process takes over from a killed holder at once. The holder wrote the lease's nonce into a file of
the folder while it held the folder's lock, which the kernel releases with the process. So a process that holds the lock and
finds the nonce in that file knows that the holder has ended. A copy of the folder proves nothing: its file is another one.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from habla_ml.errors import LakeError, PointerMovedError, TrainingError, TrainingLeasedError
from habla_ml.lake import Lake, Pointer, catalogue
from habla_ml.training.identity import RunIdentity
from habla_ml.training.remedies import Remedies

LEASE_S: Final = 120.0
CLOCK_SKEW_S: Final = 30.0
_RENEWED_EVERY_S: Final = 30.0
_ATTEMPTS: Final = 5
_LONGEST_JOIN_S: Final = 10.0
"""A request to a server that is down can take minutes."""
_FROZEN: Final = ConfigDict(extra="forbid", frozen=True)


class Lease(BaseModel):
    """Who trains, and until when without a renewal."""

    model_config = _FROZEN

    nonce: str
    host: str
    pid: int
    inode: int
    """Of the file with the nonce; 0 without a folder."""
    expires_at: datetime


class StoredCheckpoint(BaseModel):
    """A checkpoint in the lake."""

    model_config = _FROZEN

    step: int
    tree: str
    best: Mapping[int, str]
    """Step of each of the best validations so far → its weights, without the state of the optimiser."""
    remedies: Remedies

    @property
    def trees(self) -> tuple[str, ...]:
        """All trees of the checkpoint."""
        return (self.tree, *self.best.values())


class UnfinishedTraining(BaseModel):
    """The value of the pointer."""

    model_config = _FROZEN

    identity: RunIdentity
    version: str
    """Model version of the last holder."""
    changed_at: datetime
    lease: Lease | None = None
    """None after its holder has ended normally."""
    checkpoint: StoredCheckpoint | None = None

    @property
    def lease_remaining_s(self) -> float:
        """Seconds until another machine may take the lease; not above 0 if it may now."""
        if self.lease is None:
            return 0.0
        return (self.lease.expires_at - datetime.now(UTC)).total_seconds() + CLOCK_SKEW_S


def read_unfinished_training(pointer: Pointer) -> UnfinishedTraining:
    """Return the value of a pointer of the family `UNFINISHED_TRAINING`; raise `TrainingError` if it has another form."""
    try:
        return UnfinishedTraining.model_validate(dict(pointer.value))
    except ValueError as error:
        raise TrainingError(
            f"the pointer {pointer.name} is not of this version of habla_ml; delete it, or train with the version that wrote "
            f"it ({type(error).__name__})"
        ) from error


def list_unfinished_trainings(lake: Lake) -> Iterator[UnfinishedTraining]:
    """Yield all unfinished trainings of a lake."""
    for pointer in catalogue.UNFINISHED_TRAINING.read(lake).list_pointers():
        yield read_unfinished_training(pointer)


class HeldLease:
    """A lease that this process has taken and renews in a thread."""

    def __init__(self, lake: Lake, pointer: Pointer, nonce: str) -> None:
        self._lake, self._pointer, self._nonce = lake, pointer, nonce
        self._lock = threading.Lock()
        self._lost: TrainingLeasedError | None = None
        self._is_finished = False
        self._problem: str | None = None

    @property
    def training(self) -> UnfinishedTraining:
        """The state of the pointer when this process last changed it."""
        return read_unfinished_training(self._pointer)

    def check(self) -> None:
        """Raise `TrainingLeasedError` if the lease is known to be lost; sends no request."""
        if self._lost is not None:
            raise self._lost

    def take_problem(self) -> str | None:
        """Return why the last renewal failed, once; None if it did not."""
        problem, self._problem = self._problem, None
        return problem

    def renew(self) -> None:
        """Extend the lease; raises `TrainingLeasedError` if it is lost, and `LakeError` if the lake cannot be reached."""
        self._change(lambda training: training)

    def store(self, checkpoint: StoredCheckpoint) -> None:
        """Make `checkpoint` the one that the next holder resumes from; raises as `renew`."""
        self._change(lambda training: training.model_copy(update={"checkpoint": checkpoint}))

    def finish(self) -> None:
        """Delete the pointer, because the result is published; raises as `renew`."""
        self.renew()
        with self._lock:
            self._is_finished = True
            self._lake.delete_pointer(self._pointer.name)

    def release(self) -> None:
        """Let another process take over at once; without a checkpoint nothing stays. A lost lease is left alone."""
        if self._is_finished:
            return
        if self.training.checkpoint is None:
            self.finish()
        else:
            self._change(lambda training: training.model_copy(update={"lease": None}), is_kept=False)

    def renew_until(self, stopped: threading.Event) -> None:
        """Renew the lease in intervals until `stopped` is set or the lease is lost."""
        while not stopped.wait(_RENEWED_EVERY_S):
            try:
                self.renew()
                self._problem = None
            except TrainingLeasedError:
                return
            except LakeError as error:
                self._problem = str(error)

    def _change(self, change: Callable[[UnfinishedTraining], UnfinishedTraining], *, is_kept: bool = True) -> None:
        with self._lock:
            self.check()
            if self._is_finished:
                return
            for _ in range(_ATTEMPTS):
                now = datetime.now(UTC)
                value = change(self.training).model_copy(update={"changed_at": now})
                if is_kept and value.lease is not None:
                    expires_at = now + timedelta(seconds=LEASE_S)
                    value = value.model_copy(
                        update={"lease": value.lease.model_copy(update={"expires_at": expires_at})}
                    )
                try:
                    self._pointer = self._lake.move_pointer(self._pointer.name, _dump(value), self._pointer)
                    return
                except PointerMovedError:
                    self._adopt_present_state()
            raise LakeError(f"the pointer {self._pointer.name} moved {_ATTEMPTS} times in a row; run again")

    def _adopt_present_state(self) -> None:
        """Read the pointer again: the answer to an own change can have been lost. Raise if another process has the lease."""
        found = self._lake.read_pointer(self._pointer.name)
        lease = None if found is None else read_unfinished_training(found).lease
        if found is None or lease is None or lease.nonce != self._nonce:
            by = "it was deleted or released" if lease is None else f"process {lease.pid} on {lease.host} took it over"
            self._lost = TrainingLeasedError(
                f"this process lost the lease {self._pointer.name}, because it was paused or could not reach {self._lake.url}: "
                f"{by}. It stopped and published nothing; run again to resume"
            )
            raise self._lost
        self._pointer = found


@contextmanager
def hold_lease(lake: Lake, identity: RunIdentity, version: str, nonce_file: Path | None) -> Iterator[HeldLease]:
    """Hold the lease on a training, renew it in a thread, and release it at the end.

    Args:
        lake: The lake of the pointer.
        identity: The training.
        version: Model version, for messages.
        nonce_file: File in a folder whose lock the caller holds, see the module's docstring; None without a folder.

    Raises:
        TrainingLeasedError: Another process holds the lease.
        LakeError: The lake cannot be written.
    """
    held = _take(lake, identity, version, nonce_file)
    stopped = threading.Event()
    renewing = threading.Thread(target=held.renew_until, args=(stopped,), name="lease", daemon=True)
    renewing.start()
    try:
        yield held
    finally:
        stopped.set()
        renewing.join(_LONGEST_JOIN_S)
        with suppress(LakeError, TrainingLeasedError):  # then it ends by itself, and the first error counts
            held.release()


def _take(lake: Lake, identity: RunIdentity, version: str, nonce_file: Path | None) -> HeldLease:
    name = catalogue.UNFINISHED_TRAINING.name(identity.digest)
    for _ in range(_ATTEMPTS):
        seen = lake.read_pointer(name)
        before = None if seen is None else read_unfinished_training(seen)
        if before is not None:
            _require_free(before, name, nonce_file)
        nonce = uuid.uuid4().hex
        now = datetime.now(UTC)
        lease = Lease(
            nonce=nonce,
            host=socket.gethostname(),
            pid=os.getpid(),
            inode=0 if nonce_file is None else _add_nonce(nonce_file, nonce),
            expires_at=now + timedelta(seconds=LEASE_S),
        )
        value = UnfinishedTraining(
            identity=identity,
            version=version,
            changed_at=now,
            lease=lease,
            checkpoint=None if before is None else before.checkpoint,
        )
        with suppress(PointerMovedError):  # another process was faster
            return HeldLease(lake, lake.move_pointer(name, _dump(value), seen), nonce)
    raise TrainingLeasedError(f"{_ATTEMPTS} other processes took {name} in {lake.url} in a row; run again later")


def _require_free(training: UnfinishedTraining, name: str, nonce_file: Path | None) -> None:
    lease, remaining_s = training.lease, training.lease_remaining_s
    if lease is None or remaining_s <= 0 or (nonce_file is not None and _has_ended(lease, nonce_file)):
        return
    raise TrainingLeasedError(
        f"process {lease.pid} on {lease.host} trains {training.version} ({name}); its lease ends in {remaining_s:.0f} s "
        "unless it renews it. Wait until it ends, or stop it there"
    )


def _has_ended(lease: Lease, nonce_file: Path) -> bool:
    """Return whether the holder worked in this folder, whose lock the caller holds; then it has ended."""
    try:
        with nonce_file.open() as file:
            is_same_file = os.fstat(file.fileno()).st_ino == lease.inode
            return is_same_file and lease.host == socket.gethostname() and lease.nonce in file.read().split()
    except FileNotFoundError:
        return False


def _add_nonce(path: Path, nonce: str) -> int:
    """Append `nonce` to the file, in place; return its inode. An earlier nonce stays, until a lease replaces its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(f"{nonce}\n")
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_ino


def _dump(training: UnfinishedTraining) -> dict[str, Any]:
    return training.model_dump(mode="json")
