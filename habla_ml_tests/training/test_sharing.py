from collections import Counter

import pytest

from habla_ml.training.schedule import ClipUse, WindowedBatch
from habla_ml.training.sharing import SharedUse, count_passes, divide_step
from habla_ml.training.world import World

STEP = (
    WindowedBatch((3, 1, 4), 256, 2),
    WindowedBatch((5, 9, 2, 6, 8), 320, 2),
    WindowedBatch((7,), 3000, 3),
)


def divide(step: tuple[WindowedBatch, ...], size: int) -> list[list[list[SharedUse]]]:
    return [divide_step(step, World(rank, size, rank, size)) for rank in range(size)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9, 12])
def test_the_processes_have_each_clip_of_a_step_once_and_equally_many_passes(size: int) -> None:
    processes = divide(STEP, size)
    assert {len(passes) for passes in processes} == {count_passes(3, World(0, size))}
    passes = [each for own in processes for each in own]
    assert all(len({shared.use.n_frames for shared in each}) == 1 for each in passes), "a pass has one window"
    counted = Counter(shared.use for each in passes for shared in each if shared.counts)
    assert counted == Counter(use for batch in STEP for use in batch.uses())
    idle = [each for each in passes if not each[0].counts]
    assert [len(each) for each in idle] == [1] * max(0, size * count_passes(3, World(0, size)) - 9)


def test_whole_batches_stay_whole_where_there_are_enough() -> None:
    for own in divide((*STEP, STEP[0]), 2):
        assert all(tuple(shared.use.clip for shared in each) in {batch.clips for batch in STEP} for each in own)


def test_one_process_has_the_batches_in_their_order() -> None:
    assert divide(STEP, 1) == [[[SharedUse(use) for use in batch.uses()] for batch in STEP]]


def test_the_input_is_divided_evenly() -> None:
    [first], [second] = divide((WindowedBatch(tuple(range(8)), 100),), 2)
    assert [shared.use for shared in first] == [ClipUse(clip, 100, 0) for clip in range(4)]
    assert len(second) == 4
