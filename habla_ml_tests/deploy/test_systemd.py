"""The units of systemd: systemd's own checks, and what they name in the code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from habla_ml.service.server import find_exposure_warnings
from habla_ml_tests.testing.deploy_files import (
    CODE_SERVER_PORT,
    DEPLOY,
    INSTALLED,
    ROOT,
    SYSTEMD,
    WEB_SERVER_PORT,
    check_command,
    load_process_settings,
    read_document,
    read_unit_values,
    read_variables,
)

UNITS = sorted(SYSTEMD.glob("*.service"))
FILLED = {"HABLA_SERVICE__PUBLIC_URL": "https://habla.example.org"}
WORST_EXPOSURE = 25
"""Of systemd's scale from 0 to 100, where a unit without any hardening has 96."""
BY_UNIT = pytest.mark.parametrize("unit", UNITS, ids=lambda each: each.stem)
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd")


def read_environment(unit: Path) -> dict[str, str]:
    """Return the variables of a unit, with those of the examples of its secrets, filled in."""
    given = dict(each.split("=", 1) for each in read_unit_values(unit, "Environment"))
    for each in read_unit_values(unit, "EnvironmentFile"):
        given |= read_variables(SYSTEMD / f"{Path(each).name}.example")
    return {name: value or FILLED.get(name, "x") for name, value in given.items()}


@needs_systemd
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for each in SYSTEMD.glob("habla-ml*"):
        text = each.read_text("utf-8").replace(INSTALLED, f"{Path(sys.executable).parent}/")
        (tmp_path / each.name).write_text(text.replace("file:///opt/habla_ml", f"file://{ROOT}"))
    names = [str(each) for each in tmp_path.iterdir()]
    done = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@BY_UNIT
def test_a_unit_is_hardened(unit: Path) -> None:
    bound = f"--threshold={WORST_EXPOSURE}"
    command = ["systemd-analyze", "security", "--offline=yes", bound, str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]
    assert read_unit_values(unit, "MemoryMax")
    assert read_unit_values(unit, "TasksMax")


@BY_UNIT
def test_commands_and_variables_exist(unit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    commands = [*read_unit_values(unit, "ExecStartPre"), *read_unit_values(unit, "ExecStart")]
    assert all(each.startswith(INSTALLED) for each in commands)
    for each in commands:
        check_command(each.removeprefix(INSTALLED).split())
    # The folders that a unit may write to.
    environment, folders = read_environment(unit), read_unit_values(unit, "StateDirectory")[0].split()
    home = environment.get("DAGSTER_HOME")
    assert [f"/var/lib/{each}" for each in folders] == ["/var/lib/habla_ml", *([home] if home else [])]
    if "HABLA_PROFILE" in environment:
        settings = load_process_settings(environment)
        state = Path("/var/lib/habla_ml")
        assert settings.work_folder.parent == settings.keys_folder.parent == settings.service_folder.parent == state


def test_a_unit_has_its_own_secrets_only() -> None:
    files = {unit.stem: [Path(each).stem for each in read_unit_values(unit, "EnvironmentFile")] for unit in UNITS}
    assert files == {
        "habla-ml-code": ["dagster", "pipeline"],
        "habla-ml-daemon": ["dagster", "pipeline"],
        "habla-ml-service": ["service"],
        "habla-ml-webserver": ["dagster"],
    }
    service = load_process_settings(read_environment(SYSTEMD / "habla-ml-service.service")).service
    assert find_exposure_warnings(service) == []


def test_a_command_of_a_person_has_the_variables_of_the_daemon(tmp_path: Path) -> None:
    given = {
        "DAGSTER_PG_PASSWORD": "a $b & c",
        "HABLA_LAKE__REGION": " d'e ",
        "HABLA_RELEASE__LICENCE": 'f"g',
        "HABLA_SERVICE__DATABASE": "postgresql://habla@h/habla?a=1&b=2",
        "HABLA_PROFILE": "school",
    }
    # As systemd.exec(5) has it: blanks around a value do not count, quotes around it keep those inside, and a file
    # counts before the unit.
    (tmp_path / "dagster.env").write_text("# secret=no\nDAGSTER_PG_PASSWORD= a $b & c \t\n", "utf-8")
    database = f"HABLA_SERVICE__DATABASE={given['HABLA_SERVICE__DATABASE']}"
    quoted = """HABLA_LAKE__REGION=" d'e "\nHABLA_RELEASE__LICENCE='f"g'\nHABLA_PROFILE=school\n"""
    (tmp_path / "pipeline.env").write_text(quoted + database, "utf-8")
    script = (SYSTEMD / "as_daemon.sh").read_text("utf-8")
    for installed, here in (
        ("/etc/habla_ml", str(tmp_path)),
        ("/opt/habla_ml/.venv/bin", str(Path(sys.executable).parent)),
        ("cd /opt/habla_ml", f"cd {ROOT}"),
        ("runuser -u habla -- ", ""),
    ):
        assert installed in script
        script = script.replace(installed, here)
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    command = ["sh", "-c", script, "as_daemon.sh", "python", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    unit = SYSTEMD / "habla-ml-daemon.service"
    assert [Path(each).name for each in read_unit_values(unit, "EnvironmentFile")] == ["dagster.env", "pipeline.env"]
    fixed = dict(each.split("=", 1) for each in read_unit_values(unit, "Environment") if not each.startswith("PATH="))
    found = json.loads(done.stdout)
    assert found.items() >= (fixed | given).items()


def test_ports_agree() -> None:
    [code] = read_unit_values(SYSTEMD / "habla-ml-code.service", "ExecStart")
    assert code.endswith(f"-h 127.0.0.1 -p {CODE_SERVER_PORT}")
    [webserver] = read_unit_values(SYSTEMD / "habla-ml-webserver.service", "ExecStart")
    assert f"-h 127.0.0.1 -p {WEB_SERVER_PORT} " in webserver


def test_the_variables_of_dagster_are_given() -> None:
    needed = set(re.findall(r"env: (\w+)", (DEPLOY / "dagster" / "host_postgres.yaml").read_text("utf-8")))
    [server] = read_document(DEPLOY / "dagster" / "workspace.yaml")["load_from"]
    for unit in UNITS:
        given = set(read_environment(unit))
        assert unit.stem == "habla-ml-service" or needed <= given
        assert "workspace.yaml" not in unit.read_text("utf-8") or server["grpc_server"]["host"]["env"] in given


def test_a_restart_of_the_daemon_leaves_its_runs_alone() -> None:
    unit = SYSTEMD / "habla-ml-daemon.service"
    assert read_unit_values(unit, "KillMode") == ["process"]
    assert read_unit_values(unit, "OOMPolicy") == ["continue"]
    # systemd would remove the temporary files and the shared memory of runs that go on.
    assert read_unit_values(unit, "PrivateTmp") == []
    assert all(read_unit_values(each, "RemoveIPC") == [] for each in UNITS)


def test_the_target_has_each_unit() -> None:
    [wanted] = read_unit_values(SYSTEMD / "habla-ml.target", "Wants")
    assert sorted(wanted.split()) == [each.name for each in UNITS]
    assert all(read_unit_values(each, "PartOf") == ["habla-ml.target"] for each in UNITS)
