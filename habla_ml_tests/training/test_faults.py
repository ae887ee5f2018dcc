import errno
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from habla_ml.training.faults import explain_fault

FOLDER = Path("/var/training/v3")


class LethalClips:
    """A dataset that kills the process which loads it."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> torch.Tensor:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_full_disk_is_named_with_its_folder_also_behind_other_errors() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    try:
        raise RuntimeError("the writer failed") from full
    except RuntimeError as error:
        explained = explain_fault(error, FOLDER)
    assert explained is not None
    assert explained[0].startswith("the disk of /var/training/v3 is full; free space")
    assert explained[0].endswith("resumes at the last checkpoint")
    assert explained[1] == "environment"


def test_a_killed_worker_is_named() -> None:
    with pytest.raises(RuntimeError) as killed:
        next(iter(DataLoader(LethalClips(), num_workers=1)))  # type: ignore[arg-type]
    explained = explain_fault(killed.value, FOLDER)
    assert explained is not None
    assert explained[0].startswith("a process that loads clips was killed")
    assert explained[1] == "program"


def test_a_defect_has_no_advice() -> None:
    assert explain_fault(IndexError("tuple index out of range"), FOLDER) is None
