"""The image: a linter of Dockerfiles, the files that are copied, the pins, and the wheel that is built from these files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

from habla_ml_tests.testing.deploy_files import DEPLOY, ROOT, check_command
from tools.locks import EXTRAS, OLDEST_PYTHON

TEXT = (DEPLOY / "Dockerfile").read_text("utf-8")
LINES = re.sub(r"\\\n\s*", "", TEXT).splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FROM = [index for index, line in enumerate(LINES) if line.startswith("FROM ")]


def list_copied() -> list[str]:
    """Return what the image takes from the checkout."""
    copied = [line.split()[1:-1] for line in LINES if line.startswith("COPY ") and "--from=" not in line]
    return [source for sources in copied for source in sources]


def read_argument(name: str) -> str:
    """Return the default of a build argument."""
    [value] = re.findall(rf"^ARG {name}=(.+)$", TEXT, re.MULTILINE)
    return str(value)


def test_the_linter_finds_nothing() -> None:
    command = [str(Path(sys.executable).with_name("hadolint")), str(DEPLOY / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_variables_of_from_lines_are_declared_before_the_first() -> None:
    """Docker reads a later one as empty, which the linter does not see."""
    used = {name for index in FROM for name in re.findall(r"\$\{([A-Z]+)\}", LINES[index])}
    assert used == {re.findall(r"^ARG ([A-Z]+)=", line)[0] for line in LINES[: FROM[0]] if line.startswith("ARG")}
    stages = {LINES[index].split()[-1] for index in FROM}
    assert {"torch-cpu", "torch-cuda"} <= stages


def test_each_copied_path_exists_and_is_in_the_context() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    allowed = [each[1:] for each in rules if each.startswith("!")]
    copied = list_copied()
    assert all((ROOT / each).exists() for each in copied)
    assert all(any(fnmatch(each, rule) for rule in allowed) for each in copied)
    assert all(any(fnmatch(each, rule) for each in copied) for rule in allowed)
    refused = [each for each in rules[1:] if not each.startswith("!")]
    assert any(fnmatch("configs/local.yaml", each) for each in refused)


def test_packages_come_from_the_locks_and_pins() -> None:
    installed = [line for line in LINES if "pip install" in line]
    locks = [re.findall(r"--require-hashes --no-deps .*--requirement /locks/(\S+)", each) for each in installed]
    assert locks == [["torch-cpu.lock"], ["torch-pypi.lock"], ["requirements.lock"], []]
    assert "--constraint /locks/constraints.txt" in installed[-1]
    # For the Helm chart, PostgreSQL and the nodes of a Ray cluster.
    assert {"k8s", "postgres", "ray"} <= set(EXTRAS)
    assert read_argument("PYTHON") == OLDEST_PYTHON
    assert f"habla_ml:{PROJECT['version']}-cpu " in TEXT


def test_further_extras_are_optional() -> None:
    [shell] = re.findall(r'"\$\(ls /wheel/\*\.whl\)(.+)"$', TEXT, re.MULTILINE)
    for extras, expected in (("", "a.whl"), ("onnx,sweep", "a.whl[onnx,sweep]")):
        command = ["sh", "-c", f'EXTRAS="$1"; printf %s "a.whl{shell}"', "sh", extras]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == expected


@pytest.mark.long
def test_the_last_stage_is_small_and_not_root() -> None:
    last = LINES[FROM[-1] :]
    assert not any(re.search(r"apt-get|pip install|build-essential", line) for line in last)
    [user] = [line.split()[1] for line in last if line.startswith("USER ")]
    assert user == "${USER_ID}"
    assert int(read_argument("USER_ID")) >= 1000
    [command] = re.findall(r'^CMD \["(.+)"\]$', TEXT, re.MULTILINE)
    check_command(command.split('", "'))


@pytest.mark.slow
def test_the_copied_files_make_a_complete_wheel(tmp_path: Path) -> None:
    built_at = next(at for at, line in enumerate(LINES) if "pip wheel" in line)
    for name in (name for line in LINES[:built_at] if line.startswith("COPY ") for name in line.split()[1:-1]):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "wheel", "."]
    subprocess.run(command, cwd=tmp_path, check=True)
    [wheel] = (tmp_path / "wheel").glob("*.whl")
    packed = {each for each in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in each}
    known = subprocess.run(["git", "ls-files", "habla_ml"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {each for each in known.stdout.splitlines() if not each.endswith(".md")} - packed == set()
    assert {each.split("/")[0] for each in packed} == {"habla_ml"}
