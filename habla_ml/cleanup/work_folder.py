"""Leftovers in the work folder: temporary folders of killed processes, copies of artefacts, and finished trainings."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from habla_ml.cleanup.leftover import Leftover, LeftoverGroup, make_folder_leftover, measure_folder, remove_folder
from habla_ml.errors import TrainingError
from habla_ml.export.publish import ARTEFACTS_FOLDER
from habla_ml.lake import Lake, catalogue
from habla_ml.scratch import find_abandoned_folders
from habla_ml.training.run import list_run_scratch
from habla_ml.training.train import lock_work_folder

_TRAINING_FOLDER: Final = "training"


def find_abandoned_scratch(work_folder: Path) -> LeftoverGroup:
    """Return the temporary folders of killed processes; the lock of a folder shows whether its process lives."""
    due = tuple(make_folder_leftover(path, work_folder) for path in find_abandoned_folders(work_folder))
    return LeftoverGroup("temporary folders of killed processes", due)


def find_unused_artefacts(work_folder: Path, now: datetime, grace: timedelta) -> LeftoverGroup:
    """Return the local copies of models that nothing has used for the grace period; the lake has them."""
    folders = sorted(path for path in (work_folder / ARTEFACTS_FOLDER).glob("*") if path.is_dir())
    unused_since = (now - grace).timestamp()
    due = [each for each in folders if _get_modified_s(each) < unused_since]
    waiting = [each for each in folders if each not in due]
    return LeftoverGroup(
        "local copies of models",
        tuple(make_folder_leftover(each, work_folder) for each in due),
        len(waiting),
        sum(map(measure_folder, waiting)),
    )


def find_finished_trainings(lake: Lake, work_folder: Path, now: datetime, grace: timedelta) -> LeftoverGroup:
    """Return the clips and checkpoints of trainings whose model version is in the lake.

    A training that has not finished keeps them, because it resumes from them. A training that runs holds the lock of
    its folder.
    """
    due, waiting, waiting_bytes = list[Leftover](), 0, 0
    for version in sorted(path for path in (work_folder / _TRAINING_FOLDER).glob("*") if path.is_dir()):
        if lake.read_pointer(catalogue.CHECKPOINT.name(version.name)) is None:
            continue
        for scratch in (path for run in sorted(version.iterdir()) for path in list_run_scratch(run)):
            if _get_modified_s(scratch) < (now - grace).timestamp():
                due.append(_make_training_leftover(scratch, version, work_folder))
            else:
                waiting += 1
                waiting_bytes += measure_folder(scratch)
    return LeftoverGroup("clips and checkpoints of published trainings", tuple(due), waiting, waiting_bytes)


def _make_training_leftover(path: Path, version_folder: Path, work_folder: Path) -> Leftover:
    def remove() -> bool:
        try:
            with lock_work_folder(version_folder):
                return remove_folder(path)
        except TrainingError:  # a training of this version runs
            return False

    return Leftover(path.relative_to(work_folder).as_posix(), measure_folder(path), remove)


def _get_modified_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
