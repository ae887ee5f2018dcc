"""What ended a training process, in a sentence with the next step."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from habla_ml.errors import Fault, classify_fault

RESUME: Final = "the next run resumes at the last checkpoint"
_FULL_DISK: Final = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "PytorchStreamWriter failed writing")
_LOST_WORKER: Final = ("DataLoader worker",)
_LOST_GPU: Final = ("ECC error", "GPU is lost", "has fallen off the bus", "busy or unavailable")


def explain_fault(error: BaseException, folder: Path) -> tuple[str, Fault] | None:
    """Return advice and cause of an error of a training in `folder`; None for one without advice."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    text = " ".join(map(str, causes))
    known: tuple[tuple[tuple[str, ...], str, Fault], ...] = (
        (
            _FULL_DISK,
            f"the disk of {folder} is full; free space on it or set work_folder to another one",
            "environment",
        ),
        (
            _LOST_WORKER,
            "a process that loads clips was killed, probably because the machine or /dev/shm has too little memory; end other "
            "programs or raise the limit of the container",
            "program",
        ),
        (_LOST_GPU, "the GPU failed or is in use; look at it with nvidia-smi", "environment"),
    )
    for texts, advice, fault in known:
        if any(each in text for each in texts):
            return f"{advice}; {RESUME}", fault
    if classify_fault(error) == "environment":
        return f"{error}; repair it; {RESUME}", "environment"
    return None
