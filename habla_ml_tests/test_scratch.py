"""Scratch folders: removed at the end, and recognised as abandoned only when their process is gone."""

import os
import subprocess
import sys
from pathlib import Path

from habla_ml.scratch import SCRATCH_FOLDER, find_abandoned_folders, make_scratch_folder

HOLD = """
import sys
from pathlib import Path
from habla_ml.scratch import make_scratch_folder

with make_scratch_folder(Path(sys.argv[1]), "recordings") as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def _make_old(folder: Path) -> None:
    os.utime(folder, (0, 0))


def test_a_folder_is_gone_after_its_work(tmp_path: Path) -> None:
    with make_scratch_folder(tmp_path / "work", "stream") as folder:
        (folder / "half").write_bytes(b"x")
    assert list((tmp_path / "work" / SCRATCH_FOLDER).iterdir()) == []


def test_only_the_folder_of_a_killed_process_is_abandoned(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        (folder / "half").write_bytes(b"x")
        _make_old(folder)
        assert find_abandoned_folders(tmp_path) == []
        process.kill()
        process.wait()
    assert find_abandoned_folders(tmp_path) == [folder]
    assert (folder / "half").exists()


def test_a_folder_that_was_just_made_may_not_be_locked_yet(tmp_path: Path) -> None:
    young = tmp_path / SCRATCH_FOLDER / "stream-young"
    young.mkdir(parents=True)
    assert find_abandoned_folders(tmp_path) == []
    _make_old(young)
    assert find_abandoned_folders(tmp_path) == [young]
