"""The processes of a training besides rank 0, which leads: they compute the attempts that it announces.

A fault that all processes have, such as a loss that is not finite, ends the attempt, and rank 0 decides what follows. A
fault of one process ends that process, and the launcher ends the others; the next run resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from habla_ml.errors import TrainingError
from habla_ml.lake import Lake
from habla_ml.training.remedies import NotFiniteError, choose_remedies, write_remedies
from habla_ml.training.run import RunFolder, TrainingAttempt, open_written_data, prepare_run, train_attempt
from habla_ml.training.termination import watch_termination
from habla_ml.training.trainer import Progress
from habla_ml.training.world import (
    OtherProcessError,
    World,
    describe_process,
    join_world,
    read_world,
    restart_all,
    share,
)


def train_together(lead: Callable[[], None], open_own_lake: Callable[[], Lake]) -> None:
    """Call `lead` in rank 0, and compute its attempts in the other processes until it returns.

    Those read the clips from the lake that `open_own_lake` returns.
    """
    world = read_world()
    nothing: TrainingAttempt | None = None
    with join_world(world):
        if world.is_leader:
            lead()
            share(nothing)
        else:
            # Rank 0 saves a checkpoint after a request to end, for which this process computes the step to its end.
            with watch_termination():
                lake = open_own_lake()
                while (attempt := share(nothing)) is not None:
                    _compute(attempt, world, lake)


def _compute(attempt: TrainingAttempt, world: World, lake: Lake) -> None:
    folder = RunFolder(attempt.work_folder, attempt.identity)
    if not folder.clips.exists():
        raise TrainingError(
            f"{describe_process(world)} does not find {folder.clips}, which rank 0 wrote; put work_folder on a disk that all "
            "hosts have at the same path"
        )
    written = open_written_data(folder, "the clips of rank 0", lake)
    run = prepare_run(attempt.recipe, attempt.identity, attempt.base, written, folder, _report_nothing)
    run = replace(run, remedies=attempt.remedies, bounds=attempt.bounds)
    try:
        train_attempt(run, attempt.start, attempt.resumed)
    except (NotFiniteError, OtherProcessError):
        return  # rank 0 has the same error, or ended the attempt
    except Exception as error:
        remedies = choose_remedies(error, run.remedies, max(map(len, run.own_batches())))
        if remedies is None:
            raise
        write_remedies(folder.root, remedies)
        print(
            f"{describe_process(world)} is out of memory; all go on from the last checkpoint with each batch in "
            f"{remedies.batch_parts} parts",
            flush=True,
        )
        restart_all()


def _report_nothing(_progress: Progress) -> None:
    pass
