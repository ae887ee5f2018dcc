"""Threads share commits, and each receives its own outcome or the error of its group."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from habla_ml.inbox import group_commit
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
        first = pool.submit(group.run, lambda: 0)
        assert first_runs.wait(10)
        others = [pool.submit(group.run, partial(int, number)) for number in range(1, 20)]
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
        group.run(lambda: 1)
    assert group.run(lambda: 2) == 2


def test_a_commit_waits_a_moment_for_the_items_that_are_being_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "_LONGEST_WAIT_S", 10.0)
    groups: list[list[int]] = []
    group = GroupCommit[int, None](lambda items: groups.append(list(items)) or [None] * len(items))
    begun, may_end = threading.Barrier(3), threading.Event()

    def prepare(number: int) -> int:
        begun.wait(10)
        assert may_end.wait(10)
        if number == 2:
            raise OSError("the disk is full")
        return number

    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(group.run, partial(prepare, number)) for number in (1, 2)]
        begun.wait(10)
        fast = pool.submit(group.run, lambda: 3)
        while not group._commits.locked():
            pass
        may_end.set()
        assert (fast.result(), slow[0].result()) == (None, None)
        with pytest.raises(OSError, match="full"):
            slow[1].result()
    assert [sorted(each) for each in groups] == [[1, 3]]
