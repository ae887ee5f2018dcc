"""The file `.env` of a project: the commands and the service read it, as Dagster does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from habla_ml.cli.environment_file import require_same_variables
from habla_ml.errors import SettingsError
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.deployment_settings import PROJECT, write_settings

VARIABLES = ("HABLA_PROFILE", "HABLA_ALERT_WEBHOOK", "HF_TOKEN", "DAGSTER_HOME")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with spaces and accents in its path, as the working folder; the variables are unset at the end."""
    folder = tmp_path / "mi escuela ñ"
    folder.mkdir()
    write_settings(folder, monitoring={"alerts": {"webhook_variable": "HABLA_ALERT_WEBHOOK"}})
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.delenv("HABLA_CONFIGS", raising=False)
    monkeypatch.chdir(folder)
    return folder


def test_a_command_has_the_variables_of_the_file_and_those_of_the_environment_first(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ("# a comment", "HABLA_ALERT_WEBHOOK='https://example.org/a b'", "HF_TOKEN=", "HABLA_PROFILE=here")
    (project / ".env").write_text("\n".join(lines), "utf-8")
    assert run_habla_ml("releases").returncode == 0
    assert os.environ["HABLA_ALERT_WEBHOOK"] == "https://example.org/a b"
    assert "HF_TOKEN" not in os.environ
    monkeypatch.setenv("HABLA_PROFILE", "missing")
    assert "missing.yaml does not exist" in run_habla_ml("releases").stderr


def test_the_ui_does_not_start_with_another_profile_than_the_service(project: Path) -> None:
    (project / ".env").write_text("HABLA_PROFILE=local\n", "utf-8")
    found = run_habla_ml("dev", "-p", "here")
    assert found.returncode == 1
    assert f"{project / '.env'} sets HABLA_PROFILE to another value" in found.stderr
    assert "remove the line" in found.stderr


def test_another_way_of_writing_a_folder_is_no_other_value(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".env").write_text(f"DAGSTER_HOME='{project}/home/'\n", "utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(project / "home"))
    require_same_variables()
    monkeypatch.setenv("DAGSTER_HOME", str(project / "other"))
    with pytest.raises(SettingsError, match="sets DAGSTER_HOME to another value"):
        require_same_variables()


def test_an_unreadable_file_is_named(project: Path) -> None:
    (project / ".env").write_bytes(b"HF_TOKEN=\xff\n")
    found = run_habla_ml("releases", "-p", "here")
    assert (found.returncode, found.stderr.count(f"{project / '.env'} cannot be read")) == (1, 1)


def test_a_copy_of_the_example_changes_nothing(project: Path) -> None:
    (project / ".env").write_bytes((PROJECT / ".env.example").read_bytes())
    before = dict(os.environ)
    assert run_habla_ml("releases", "-p", "here").returncode == 0
    assert dict(os.environ) == before
