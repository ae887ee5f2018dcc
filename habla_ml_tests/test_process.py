"""Tests of memory settings, each in its own process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from habla_ml.process import read_memory_bytes, sync_folder

FAULTS = """
import ctypes, resource, sys
from habla_ml.process import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
size = 48 << 20
for _ in range(20):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_freed_memory_is_reused_without_new_page_faults():
    def faults(how: str) -> int:
        return int(
            subprocess.run([sys.executable, "-c", FAULTS, how], text=True, capture_output=True, check=True).stdout
        )

    assert faults("keep") < faults("leave") / 3


@pytest.mark.parametrize(
    ("groups", "files", "bytes_"),
    [
        ("0::/pod/app\n", {"memory.max": "max", "pod/memory.max": "2000", "pod/app/memory.max": "3000"}, 2000),
        ("0::/\n", {"memory.max": "1000\n"}, 1000),
        ("5:cpu:/docker/a\n4:memory:/docker/a\n", {"memory/memory.limit_in_bytes": "4000"}, 4000),
        ("4:memory:/\n0::/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("", {}, None),
    ],
    ids=["version 2", "container", "version 1 of a container", "no limit", "no groups"],
)
def test_the_memory_is_that_of_the_machine_or_of_the_smallest_group(
    tmp_path: Path, groups: str, files: dict[str, str], bytes_: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    (tmp_path / "own").write_text(groups)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert read_memory_bytes(tmp_path / "cgroup", tmp_path / "own") == (bytes_ or machine)
    assert read_memory_bytes(tmp_path / "cgroup", tmp_path / "missing") == machine


@pytest.mark.long
@pytest.mark.parametrize(
    ("given", "used"), [({}, "1000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_the_threads_of_a_training_sleep_while_they_wait_unless_told_otherwise(
    given: dict[str, str], used: str
) -> None:
    code = (
        "import os, sys; from habla_ml.training.process import prepare_process; prepare_process(die_with_its_parent=False);"
        "print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"  # torch reads the variable when it is loaded
    )
    others = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", code], env={**others, **given}, capture_output=True, text=True)
    assert done.stdout.split() == [used, "False"], done.stderr


def test_every_file_and_folder_is_written_through_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    for name in ("run.json", "checkpoint/model.safetensors", "checkpoint/.stamp.json"):
        (tmp_path / name).write_text("x")
    synced = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.fstat(descriptor).st_ino))
    sync_folder(tmp_path)
    assert synced == {path.stat().st_ino for path in (tmp_path, *tmp_path.rglob("*"))}
