import os
from pathlib import Path

import pytest
import yaml

from habla_ml.cli.dagster_home import find_outdated_keys, find_shipped_dagster_config, use_project_home
from habla_ml.cli.doctor import run_checks
from habla_ml.errors import SettingsError
from habla_ml.monitoring.finding import Finding
from habla_ml.project_files import write_project
from habla_ml.settings import load_settings

SHIPPED = {
    "concurrency": {"runs": {"max_concurrent_runs": 2}},
    "run_launcher": {"module": "dagster", "class": "ours"},
    "run_monitoring": {"enabled": True, "poll_interval_seconds": 60},
    "run_retries": {"enabled": True, "max_retries": 3},
    "nux": {"enabled": False},
}


def write(path: Path, tree: dict) -> Path:
    path.write_text(yaml.safe_dump(tree))
    return path


def test_an_older_file_lacks_keys_and_values_that_this_version_needs(tmp_path):
    older = {
        "concurrency": {"runs": {"max_concurrent_runs": 4}},  # a person's choice
        "run_monitoring": {"enabled": False},
        "run_retries": {"enabled": True, "max_retries": 0},
    }
    outdated = find_outdated_keys(write(tmp_path / "a.yaml", older), write(tmp_path / "b.yaml", SHIPPED))
    assert outdated == [
        "run_launcher.class",
        "run_launcher.module",
        "run_monitoring.enabled",
        "run_monitoring.poll_interval_seconds",
    ]


def test_another_launcher_is_a_choice(tmp_path):
    chosen = {**SHIPPED, "run_launcher": {"module": "dagster_ray", "class": "RayRunLauncher"}}
    assert find_outdated_keys(write(tmp_path / "a.yaml", chosen), write(tmp_path / "b.yaml", SHIPPED)) == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"a\.yaml does not exist"):
        find_outdated_keys(tmp_path / "a.yaml", write(tmp_path / "b.yaml", SHIPPED))


def test_the_doctor_compares_the_file_of_dagster_home_with_the_shipped_one(tmp_path, monkeypatch):
    shipped = find_shipped_dagster_config()
    assert shipped is not None
    monkeypatch.setenv("HABLA_LAKE__URL", str(tmp_path / "lake"))
    monkeypatch.setenv("HABLA_RELEASE__STORE__URL", str(tmp_path / "cdn"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    def check() -> Finding:
        (found,) = [each for each in run_checks(None) if each.subject == "DAGSTER_HOME"]
        return found

    tree = yaml.safe_load(shipped.read_text("utf-8"))
    write(tmp_path / "dagster.yaml", tree)
    assert check() == Finding("DAGSTER_HOME", "ok", str(tmp_path))
    del tree["run_monitoring"]
    write(tmp_path / "dagster.yaml", tree)
    assert "is older than habla_ml: run_monitoring.enabled" in check().found
    (tmp_path / "dagster.yaml").unlink()
    assert check().next_step.startswith(f"copy {shipped}")


@pytest.mark.parametrize(("variable", "home"), [(None, "dagster_home"), ("", ""), ("elsewhere", "elsewhere")])
def test_commands_use_the_home_of_the_project_unless_the_variable_is_set(tmp_path, monkeypatch, variable, home):
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", "")  # so that the variable is as before after the test
    monkeypatch.setenv("DAGSTER_HOME", variable) if variable is not None else monkeypatch.delenv("DAGSTER_HOME")
    use_project_home(load_settings("local"))
    assert os.environ["DAGSTER_HOME"] == (str(tmp_path / home) if variable is None else home)
