"""An erasure that is killed at any step is finished by running it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

from habla_ml.consent import sweep
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.snapshot import SPLITS, latest_snapshot, read_utterances
from habla_ml.lake import DirectoryStore, Lake
from habla_ml_tests.consent.lived_in import LivedIn, live_in
from habla_ml_tests.consent.test_erase import assert_nowhere, erase_all, withdraw
from habla_ml_tests.lake.killing import run_killed


def watched(call: Callable[..., Any], before_step: Callable[[], None]) -> Callable[..., Any]:
    def step(*arguments: Any, **options: Any) -> Any:
        before_step()
        return call(*arguments, **options)

    return step


def watch(names: tuple[str, ...], before_step: Callable[[], None]) -> None:
    """In this process, call `before_step` before each of these steps of an erasure."""
    for name in names:
        owner = Lake if hasattr(Lake, name) else DirectoryStore if hasattr(DirectoryStore, name) else sweep
        setattr(owner, name, watched(getattr(owner, name), before_step))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> LivedIn:
    return live_in(tmp_path_factory.mktemp("lived") / "root")


@pytest.fixture(scope="module")
def backup(lived: LivedIn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world as it was before any erasure."""
    return copytree(lived.world.root, tmp_path_factory.mktemp("backup") / "root")


def died_and_recovered(lived: LivedIn, names: tuple[str, ...], step: int, backup: Path) -> bool:
    """Kill an erasure before a step, run it again, look everywhere; False where it ended before that step."""
    root = lived.world.root
    rmtree(root)
    copytree(backup, root, symlinks=True)
    here = lived.reopened(Lake(DirectoryStore(root / "lake"), root / "cache"))
    theirs = withdraw(here)

    def work(before_step: Callable[[], None]) -> None:
        watch(names, before_step)
        erase_all(here)

    died = run_killed(work, step)
    again = erase_all(here)
    gone = [here.voices[each] for each in sorted(theirs)]
    assert_nowhere(DirectoryStore(root / "lake"), [here.world.settings.work_folder], gone)
    assert again.segments == len(theirs)
    assert again.heard == ("v1", "v2")
    assert len(read_tombstones(here.lake).erasures) == 1
    snapshot = latest_snapshot(here.lake)
    left = {each.segment_id for split in SPLITS for each in read_utterances(here.lake, snapshot, split)}
    assert left == {here.voices[name].segment_id for name in here.voices.keys() - theirs}
    return died


def all_steps(lived: LivedIn, names: tuple[str, ...], backup: Path, stride: int = 1) -> int:
    step = 1
    while died_and_recovered(lived, names, step, backup):
        step += stride
    return step - 1


@pytest.mark.slow
def test_killed_at_any_pointer_the_next_run_completes(lived: LivedIn, backup: Path) -> None:
    assert all_steps(lived, ("move_pointer",), backup) >= 12


@pytest.mark.slow
def test_killed_while_deleting_the_next_run_completes(lived: LivedIn, backup: Path) -> None:
    assert all_steps(lived, ("delete", "_remove"), backup, stride=4) >= 20


def test_killed_between_the_tombstones_and_the_first_pointer_nothing_comes_in(
    lived: LivedIn, backup: Path
) -> None:
    assert died_and_recovered(lived, ("move_pointer",), 2, backup)
