"""`habla-ml erase` on the command line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from habla_ml.settings import save_settings
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.erasure import withdraw
from habla_ml_tests.testing.full_lake import FullLake, make_full_lake, read_pointers


def run_command(full_lake: FullLake, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    profile = save_settings(full_lake.workspace.settings, full_lake.workspace.root / "profiles")
    return run_habla_ml(*arguments, "--profile", str(profile), typed=typed)


@pytest.mark.slow
def test_a_dry_run_changes_nothing_and_a_run_needs_confirmation(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    theirs = withdraw(full_lake)
    before = read_pointers(full_lake.lake)
    dry = run_command(full_lake, "erase", "--contributor", "c-017", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert f"c-017: {len(theirs)} segments" in dry.stdout
    assert "model versions trained on the voice: v1, v2" in dry.stdout
    refused = run_command(full_lake, "erase", "--contributor", "c-017", typed="n\n")
    assert refused.returncode == 1
    assert read_pointers(full_lake.lake) == before
    done = run_command(full_lake, "erase", "--contributor", "c-017", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"erased: {len(theirs)} segments" in done.stdout
    assert done.stdout.count("model versions trained on the voice: v1, v2") == 2
    assert "left to you:" in done.stdout
    again = run_command(full_lake, "erase", "--contributor", "c-017", "--yes")
    assert "c-017: 0 segments" in again.stdout
    assert f"erased: {len(theirs)} segments" in again.stdout
    assert "0 pointers moved, 0 objects" in again.stdout


@pytest.mark.long
def test_an_unknown_contributor_is_an_error(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    found = run_command(full_lake, "erase", "--contributor", "c-999", "--yes")
    assert found.returncode == 1
    assert "'c-999' is not in the register" in found.stderr
