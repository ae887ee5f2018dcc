"""The wheel: the same sources give the same bytes, wherever and whenever it is built."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
_SOURCES = (
    "habla_ml",
    "configs",
    "dagster_home",
    "workspace.yaml",
    ".env.example",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
_EPOCH_S = 1_764_547_200  # 2025-12-01


def build_wheel(place: Path, modified_at_s: int) -> Path:
    """Build the wheel from a copy of the sources with this time of change; return its path.

    The weights of the demo's model are short, because compressing them takes most of the time.
    """
    command = ["git", "ls-files", *_SOURCES]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        path, copy = ROOT / name, place / "sources" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            copy.write_bytes(b"weights")
        else:
            shutil.copyfile(path, copy)
        os.utime(copy, (modified_at_s, modified_at_s))
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(_EPOCH_S), "PYTHONPATH": ""}
    command = [sys.executable, "-c", _BUILD, str(place)]
    built = subprocess.run(
        command, cwd=place / "sources", env=environment, umask=0o022, check=True, capture_output=True, text=True
    )
    return place / built.stdout.splitlines()[-1]


@pytest.mark.long
def test_two_builds_of_the_wheel_have_the_same_bytes(tmp_path: Path) -> None:
    first = build_wheel(tmp_path / "a", 1_700_000_000)
    second = build_wheel(tmp_path / "another" / "place", 1_760_000_000)
    digests = {hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in (first, second)}
    assert first.name == second.name
    assert len(digests) == 1, compare_entries(first, second)
    with zipfile.ZipFile(first) as wheel:
        names = wheel.namelist()
    assert "habla_ml/demo/base_model/model.safetensors" in names
    assert not [name for name in names if name.startswith(("habla_ml_tests", "tools"))]


@pytest.mark.long
def test_a_project_of_the_wheel_has_the_shipped_files_and_keeps_those_of_its_user(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_wheel(tmp_path / "build", 1_700_000_000)) as wheel:
        wheel.extractall(tmp_path / "installed")
    project = tmp_path / "school"
    (project / "configs").mkdir(parents=True)
    (project / "configs" / "local.yaml").write_text("mine: true\n")

    def run(*command: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
        return subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True, text=True).stdout

    program = [sys.executable, "-c", "from habla_ml.cli.entry import main; main()"]
    assert "1 kept as they are: configs/local.yaml" in run(*program, "init")
    shipped = ["git", "ls-files", "configs", "dagster_home", "workspace.yaml", ".env.example"]
    expected = subprocess.run(shipped, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    written = {each.relative_to(project).as_posix() for each in project.rglob("*") if each.is_file()}
    assert written == set(expected)
    assert (project / "configs" / "local.yaml").read_text() == "mine: true\n"
    load = "from habla_ml.settings import load_settings; print(load_settings('production').training.recipe)"
    assert run(sys.executable, "-c", load).strip() == str(project / "configs" / "recipes" / "whisper-small-full.yaml")


def compare_entries(first: Path, second: Path) -> list[str]:
    """Return the entries of two wheels that differ."""
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        entries = [
            {(each.filename, each.CRC, each.date_time, each.external_attr >> 16) for each in wheel.infolist()}
            for wheel in (one, other)
        ]
    return sorted(str(each) for each in entries[0] ^ entries[1])
