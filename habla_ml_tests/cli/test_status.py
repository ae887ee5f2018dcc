"""The command `habla-ml status`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml
from typer.testing import CliRunner

from habla_ml.cli.main import app
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.habla_sessions import write_session

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    for folder in ("configs", "recordings", "home"):
        (tmp_path / folder).mkdir()
    tree = {
        "work_folder": "work",
        "lake": {"url": "lake"},
        "recordings": {"folder": "recordings"},
        "corpus": {"conventions": str(ROOT / "configs" / "conventions" / "orthographic-v1.yaml")},
        "training": {"recipe": str(ROOT / "configs" / "recipes" / "demo-full.yaml")},
        "release": {"store": {"url": "cdn"}},
        "monitoring": {"loop": {"least_free_gb": 0}},
    }
    path = tmp_path / "configs" / "mine.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_the_status_works_without_dagster_home_and_names_the_skipped_sessions(profile):
    write_session(profile.parent.parent / "recordings", "1_19700101_000100", 1)
    shown = run_habla_ml("status", "-p", str(profile), DAGSTER_HOME="")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "unknown: DAGSTER_HOME is not set" in shown.stdout
    assert "0.0 of 10 h" in shown.stdout
    assert "1_19700101_000100 is dated 1970-01-01: the recorder's clock was reset" in shown.stdout


@pytest.mark.long
def test_the_status_of_a_dagster_home_whose_daemon_never_ran_needs_a_person(profile, monkeypatch):
    home = profile.parent.parent / "home"
    with dg.DagsterInstance.local_temp(str(home)):
        pass
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    shown = CliRunner().invoke(app, ["status", "--json", "-p", str(profile)])
    assert shown.exit_code == 1, shown.output
    found = json.loads(shown.stdout)
    assert found["summary"] == "1 line needs you: daemon."
    upcoming = {each["subject"] for each in found["sections"]["Next"]}
    assert {"sensors", "weekly_review", "quarterly_retraining", "status_refresh"} <= upcoming


def test_a_broken_folder_and_lake_are_lines(profile, monkeypatch):
    root = profile.parent.parent
    shutil.rmtree(root / "recordings")
    (root / "lake").write_text("a file")
    monkeypatch.setenv("DAGSTER_HOME", "")
    shown = CliRunner().invoke(app, ["status", "-p", str(profile)])
    assert shown.exit_code == 1
    assert isinstance(shown.exception, SystemExit)
    assert "none yet on the channel stable" in shown.stdout
    assert "GB free" in shown.stdout


@pytest.mark.long
def test_the_metrics_of_a_deployment_are_a_file_also_where_something_is_wrong(profile, monkeypatch):
    home = profile.parent.parent / "home"
    with dg.DagsterInstance.local_temp(str(home)):
        pass
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    shown = CliRunner().invoke(app, ["status", "--metrics", str(home / "habla_ml.prom"), "-p", str(profile)])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == ""
    metrics = (home / "habla_ml.prom").read_text()
    assert 'habla_status_wrong_lines{part="daemon"} 1.0' in metrics
    assert 'habla_runs{state="queued"} 0.0' in metrics
    assert "habla_next_version_needed_speech_seconds 36000.0" in metrics
