"""`habla-ml lineage` prints a tree, JSON for programs, or what to do next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from habla_ml.settings import save_settings
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.full_lake import ENROLLED_SPEAKER, list_sessions
from habla_ml_tests.testing.released_lake import SIGNER, make_released_lake


@pytest.mark.slow
def test_a_tree_and_json_in_both_directions(tmp_path: Path) -> None:
    full_lake, _ = make_released_lake(tmp_path)
    profile = str(save_settings(full_lake.workspace.settings, tmp_path / "profiles"))
    session = list_sessions()[0]
    tree = run_habla_ml("lineage", session, "-p", profile)
    assert tree.returncode == 0, tree.stderr
    lines = tree.stdout.splitlines()
    assert lines[0].startswith(f"session {session}  days 2026-02-16, sources habla, segments 4")
    assert lines[1].startswith(f"└── snapshot {full_lake.snapshot.id}  newest, ")
    assert "release 2026.11.22-v2  channel beta, current, released at 20" in tree.stdout
    assert "read 1 days of recordings and 1 snapshots" in tree.stderr
    back = run_habla_ml("lineage", "2026.11.22-v2", "--segments", "--json", "-p", profile)
    found = json.loads(back.stdout)
    assert found["format"] == "habla_ml.lineage/1"
    assert found["found"][0]["below"][0]["id"] == "v2"
    unknown = run_habla_ml("lineage", "v9", "-p", profile)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "model version v9 has no plan" in unknown.stderr
    for printed in (tree.stdout, back.stdout):
        assert not any(secret in printed for secret in (ENROLLED_SPEAKER, SIGNER, "Frase", "Speaker"))
