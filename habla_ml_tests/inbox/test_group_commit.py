"""Threads share commits, and each receives its own outcome or the error of its group."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from habla_ml.inbox.group_commit import GroupCommit


def test_items_that_come_during_a_commit_share_the_next_one() -> None:
    groups: list[list[int]] = []
    first_runs, may_end = threading.Event(), threading.Event()

    def commit(items: Sequence[int]) -> list[int]:
        groups.append(list(items))
        first_runs.set()
        may_end.wait(10)
        return [item * 2 for item in items]

    group = GroupCommit[int, int](commit)
    with ThreadPoolExecutor(20) as pool:
        first = pool.submit(group.run, 0)
        assert first_runs.wait(10)
        others = [pool.submit(group.run, number) for number in range(1, 20)]
        while len(group._waiting) < 19:
            pass
        may_end.set()
        assert [first.result(), *(each.result() for each in others)] == [number * 2 for number in range(20)]
    assert [len(each) for each in groups] == [1, 19]


def test_an_error_reaches_every_caller_of_its_group_and_no_later_one() -> None:
    def commit(items: Sequence[int]) -> list[int]:
        if 1 in items:
            raise OSError("the disk is full")
        return list(items)

    group = GroupCommit[int, int](commit)
    with pytest.raises(OSError, match="full"):
        group.run(1)
    assert group.run(2) == 2
