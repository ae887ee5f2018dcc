"""Mutants of a small module, in a process of its own; needs mutmut, which `make mutation` installs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

pytest.importorskip("mutmut")

ROOT = Path(__file__).parents[2]
SOURCE = '''
"""Text is not changed."""
BOUND: int = 3
class Limit:
    @property
    def half(self) -> int:
        return BOUND // 2
def is_large(value: int, bound: int = BOUND) -> bool:
    if not isinstance(value, int):
        raise TypeError("give a whole number")
    return value > BOUND
def never(value):
    return value + 1
def pair(one, other):
    return zip(one, other, strict=True)
'''
TESTS = """
from small import Limit, is_large
def test_bound():
    assert is_large(4) and not is_large(3)
def test_half():
    assert Limit().half == 1
"""
RUN = """
import sys
from pathlib import Path
import pytest
from tools.mutation.forked_tests import MutationRun
from tools.mutation.mutants import list_mutants
root = Path.cwd()
mutants = list_mutants(root / "small.py", root)
options = ["-q", "-p", "no:cacheprovider", "--rootdir", ".", "test_small.py"]
def report(mutant, outcome):
    print(f"{outcome}: {mutant.line} {mutant.function or mutant.constant} {mutant.describe()}", file=sys.stderr, flush=True)
sys.exit(pytest.main(options, plugins=[MutationRun(root, mutants, report)]))
"""


def test_changed_code_is_killed_where_a_test_notices_it_and_survives_elsewhere(tmp_path: Path) -> None:
    for name, text in (("small.py", SOURCE), ("test_small.py", TESTS), ("pyproject.toml", "")):
        (tmp_path / name).write_text(dedent(text), "utf-8")
    command = [sys.executable, "-c", RUN]
    path = ":".join([str(tmp_path), str(ROOT), *filter(None, sys.path)])
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(line for line in done.stderr.splitlines() if ": " in line) == [
        "killed: 11 is_large > BOUND → >= BOUND",
        "killed: 3 BOUND 3 → 4",
        "killed: 3 BOUND BOUND: int = 3 → BOUND: int = None",
        "killed: 7 Limit.half BOUND // 2 → BOUND / 2",
        "killed: 9 is_large not isinstance(value → isinstance(value",
        "no test: 13 never 1 → 2",
        "no test: 13 never value + 1 → value - 1",
        "no test: 15 pair zip(one, other, stri → zip(None, other, stri",
        "no test: 15 pair zip(one, other, strict=Tr → zip(other, strict=Tr",
        "no test: 15 pair zip(one, other, strict=True) → zip(one, None, strict=True)",
        "no test: 15 pair zip(one, other, strict=True) → zip(one, strict=True)",
        "survived: 7 Limit.half 2 → 3",
    ]
