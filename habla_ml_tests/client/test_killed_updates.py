"""A device that is killed at any step of an update has the old or the new model, whole, and the next update finishes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from habla_ml.release.moves import rollback
from habla_ml_tests.soak.update_kills import kill_updates
from habla_ml_tests.testing.file_server import serve_folder
from habla_ml_tests.testing.process_kill import hook_file_calls, run_until_killed
from habla_ml_tests.testing.release_drafts import NOON
from habla_ml_tests.testing.updating_phone import PhoneUnderTest, ReleaseOrigin

Step = Callable[[], None]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["first", "next", "rollback"])
def test_an_update_killed_at_any_file_call_leaves_a_whole_model(tmp_path: Path, kind: str) -> None:
    origin = ReleaseOrigin(tmp_path)
    origin.publish("v1")
    states: set[str | None] = set()
    with serve_folder(origin.cdn) as address:
        before = PhoneUnderTest(tmp_path / "before", address, origin.shipped)
        if kind != "first":
            before.update()
            origin.publish("v2")
        if kind == "rollback":
            before.update()
            rollback(origin.store, "stable", now=NOON, signing=origin.signing)
        before.close()
        goal = {"first": "v1", "next": "v2", "rollback": "v1"}[kind]
        step = 1
        while True:
            folder = Path(shutil.copytree(tmp_path / "before", tmp_path / f"phone{step}"))

            def work(before_step: Step, folder: Path = folder) -> None:
                hook_file_calls(before_step)
                PhoneUnderTest(folder, address, origin.shipped).update()

            if not run_until_killed(work, step):
                break
            phone = PhoneUnderTest(folder, address, origin.shipped)
            states.add(phone.read_version())
            assert phone.update() == goal
            assert not list((folder / "downloads").iterdir())
            phone.close()
            step += 1
    assert step > 10
    assert states == {"first": {None, "v1"}, "next": {"v1", "v2"}, "rollback": {"v1", "v2"}}[kind]


@pytest.mark.slow
def test_updates_killed_at_any_moment_leave_a_whole_model(tmp_path: Path) -> None:
    counted = kill_updates(tmp_path, kills=20, draw=random.Random(7))
    assert counted.kills == 20
    assert counted.broken == 0
