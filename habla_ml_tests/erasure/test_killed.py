"""An erasure that is killed at any step completes on the next run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.snapshot import OPEN_SPLITS, load_latest_snapshot, read_utterances
from habla_ml.erasure import orphans
from habla_ml.lake import DirectoryStore, Lake
from habla_ml_tests.testing.erasure import assert_nowhere, erase_all, withdraw
from habla_ml_tests.testing.full_lake import FullLake, make_full_lake
from habla_ml_tests.testing.process_kill import run_until_killed


def wrap_with_step(call: Callable[..., Any], before_step: Callable[[], None]) -> Callable[..., Any]:
    def step(*arguments: Any, **options: Any) -> Any:
        before_step()
        return call(*arguments, **options)

    return step


def hook_steps(names: tuple[str, ...], before_step: Callable[[], None]) -> None:
    """Call `before_step` before each of these steps of an erasure in this process."""
    for name in names:
        owner = Lake if hasattr(Lake, name) else DirectoryStore if hasattr(DirectoryStore, name) else orphans
        setattr(owner, name, wrap_with_step(getattr(owner, name), before_step))


@pytest.fixture(scope="module")
def full_lake(tmp_path_factory: pytest.TempPathFactory) -> FullLake:
    return make_full_lake(tmp_path_factory.mktemp("full_lake") / "root")


@pytest.fixture(scope="module")
def backup(full_lake: FullLake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workspace before any erasure."""
    return copytree(full_lake.workspace.root, tmp_path_factory.mktemp("backup") / "root")


def kill_and_recover(full_lake: FullLake, names: tuple[str, ...], step: int, backup: Path) -> bool:
    """Kill an erasure before a step, run it again and search all bytes; return False if it ended before that step."""
    root = full_lake.workspace.root
    rmtree(root)
    copytree(backup, root, symlinks=True)
    here = full_lake.with_lake(Lake(DirectoryStore(root / "lake"), root / "cache"))
    theirs = withdraw(here)

    def work(before_step: Callable[[], None]) -> None:
        hook_steps(names, before_step)
        erase_all(here)

    died = run_until_killed(work, step)
    again = erase_all(here)
    gone = [here.traces_by_segment[each] for each in sorted(theirs)]
    assert_nowhere(DirectoryStore(root / "lake"), [here.workspace.settings.work_folder], gone)
    assert again.segments == len(theirs)
    assert again.trained_versions == ("v1", "v2")
    assert len(read_tombstones(here.lake).erasures) == 1
    snapshot = load_latest_snapshot(here.lake)
    left = {each.segment_id for split in OPEN_SPLITS for each in read_utterances(here.lake, snapshot, split)}
    assert left == {here.traces_by_segment[name].segment_id for name in here.traces_by_segment.keys() - theirs}
    return died


def kill_at_every_step(full_lake: FullLake, names: tuple[str, ...], backup: Path, stride: int = 1) -> int:
    step = 1
    while kill_and_recover(full_lake, names, step, backup):
        step += stride
    return step - 1


@pytest.mark.slow
def test_an_erasure_killed_at_any_pointer_completes_on_the_next_run(full_lake: FullLake, backup: Path) -> None:
    assert kill_at_every_step(full_lake, ("move_pointer",), backup) >= 12


@pytest.mark.slow
def test_an_erasure_killed_while_deleting_completes_on_the_next_run(full_lake: FullLake, backup: Path) -> None:
    assert kill_at_every_step(full_lake, ("delete", "_remove"), backup, stride=4) >= 20


@pytest.mark.long
def test_an_erasure_killed_after_its_tombstones_completes_on_the_next_run(full_lake: FullLake, backup: Path) -> None:
    assert kill_and_recover(full_lake, ("move_pointer",), 2, backup)
