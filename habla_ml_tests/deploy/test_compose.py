"""The compose files: their form, the limits of each container, and what they name in the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from habla_ml.service.server import find_exposure_warnings
from habla_ml_tests.testing.deploy_files import (
    CODE_SERVER_PORT,
    DEPLOY,
    ROOT,
    S3_PORT,
    SERVICE_PORT,
    WEB_SERVER_PORT,
    check_command,
    find_variables,
    interpolate,
    load_process_settings,
    read_document,
    read_variables,
)

EXAMPLE = DEPLOY / "compose.env.example"
FILLED = {name: value or "x" for name, value in read_variables(EXAMPLE).items()} | {
    "PUBLIC_URL": "https://habla.example.org"
}
SERVICES: dict[str, dict[str, Any]] = interpolate(read_document(DEPLOY / "compose.yaml"), FILLED)["services"]
PROCESSES = ("code", "daemon", "webserver", "service")


def test_the_files_follow_the_schema_of_compose() -> None:
    files = [str(each) for each in DEPLOY.glob("compose*.yaml")]
    command = [
        str(Path(sys.executable).with_name("check-jsonschema")),
        "--builtin-schema",
        "vendor.compose-spec",
        *files,
    ]
    assert len(files) == 2
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0


def test_the_example_names_each_variable_and_no_other() -> None:
    text = "".join(each.read_text("utf-8") for each in DEPLOY.glob("compose*.yaml"))
    assert find_variables(text) == set(read_variables(EXAMPLE))
    # Neither file of secrets is committed by `git add`.
    assert {"/.env", "/deploy/.env"} <= set((ROOT / ".gitignore").read_text("utf-8").splitlines())


@pytest.mark.parametrize("name", [*PROCESSES, "postgres", "s3"])
def test_a_container_that_stays_is_bounded_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"]
    assert "no-new-privileges:true" in service["security_opt"]


@pytest.mark.parametrize("name", [*PROCESSES, "buckets"])
def test_a_container_of_ours_can_write_only_to_its_volumes(name: str) -> None:
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"], service["tmpfs"]) == (True, ["ALL"], ["/tmp"])  # noqa: S108
    assert "user" not in service  # the image's, which is not root
    assert "privileged" not in service


def test_only_this_host_reaches_what_has_no_encryption() -> None:
    published = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}
    assert published == {
        "webserver": [f"127.0.0.1:{WEB_SERVER_PORT}:{WEB_SERVER_PORT}"],
        "service": [f"127.0.0.1:{SERVICE_PORT}:{SERVICE_PORT}"],
    }
    assert read_document(DEPLOY / "compose.yaml")["networks"]["data"] == {"internal": True}
    assert {name for name, each in SERVICES.items() if each["networks"] == ["data"]} == {"postgres", "s3", "buckets"}


@pytest.mark.parametrize("name", [*PROCESSES, "buckets"])
def test_commands_exist_and_take_their_arguments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CODE_SERVER_HOST", "code")
    check_command([str(each) for each in SERVICES[name]["command"]])
    if "healthcheck" in SERVICES[name]:
        check_command(SERVICES[name]["healthcheck"]["test"][1:])


def test_ports_agree() -> None:
    commands = {name: " ".join(map(str, SERVICES[name]["command"])) for name in (*PROCESSES, "s3")}
    checks = {name: " ".join(SERVICES[name]["healthcheck"]["test"]) for name in commands}
    assert commands["code"].endswith(f"-p {CODE_SERVER_PORT}")
    assert checks["code"].endswith(f"-p {CODE_SERVER_PORT}")
    assert f"-p {WEB_SERVER_PORT} " in commands["webserver"]
    assert f":{WEB_SERVER_PORT}/server_info" in checks["webserver"]
    assert f":{SERVICE_PORT}/readyz" in checks["service"]
    assert f"-s3.port={S3_PORT} " in commands["s3"]
    assert f":{S3_PORT}/healthz" in checks["s3"]
    [server] = read_document(DEPLOY / "dagster" / "workspace.yaml")["load_from"]
    assert server["grpc_server"] == {
        "host": {"env": "CODE_SERVER_HOST"},
        "port": CODE_SERVER_PORT,
        "location_name": "habla_ml",
    }


@pytest.mark.parametrize("name", ["code", "daemon", "service"])
def test_the_variables_of_a_container_are_settings(name: str) -> None:
    settings = load_process_settings(SERVICES[name]["environment"])
    stores = [settings.lake, settings.release.store, settings.service.inbox]
    assert {each.endpoint_url for each in stores if each is not None} == {f"http://s3:{S3_PORT}"}
    buckets = SERVICES["buckets"]["command"][-1]
    assert all(f'"{each.url.split("/")[2]}"' in buckets for each in stores if each is not None)
    assert settings.service.database == "postgresql://habla@postgres:5432/habla"
    # Keys and the state of the service are next to the work folder, so one volume holds all of them.
    assert settings.work_folder.parent == settings.keys_folder.parent == settings.service_folder.parent
    mounted = [each.split(":")[1] for each in SERVICES[name]["volumes"]]
    assert str(settings.work_folder.parent) in mounted
    assert name == "service" or str(settings.recordings.folder) in mounted
    if name == "service":
        assert (settings.service.host, settings.service.port) == ("0.0.0.0", SERVICE_PORT)  # noqa: S104
        assert find_exposure_warnings(settings.service) == []


def test_secrets_come_from_the_environment_and_each_container_has_its_own_only() -> None:
    given = {
        name: {each for each in service["environment"] if "PASSWORD" in each or "SECRET" in each}
        for name, service in SERVICES.items()
    }
    assert given["webserver"] == {"DAGSTER_PG_PASSWORD"}
    assert given["s3"] == given["buckets"] == {"AWS_SECRET_ACCESS_KEY"}
    assert given["service"] == {"HABLA_DATABASE_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HABLA_SERVICE_SECRET"}
    assert (
        given["code"] == given["daemon"] == {"DAGSTER_PG_PASSWORD", "HABLA_DATABASE_PASSWORD", "AWS_SECRET_ACCESS_KEY"}
    )
    raw = (DEPLOY / "compose.yaml").read_text("utf-8").splitlines()
    literal = [each for each in raw if ("PASSWORD:" in each or "SECRET" in each) and ":?" not in each]
    assert literal == []


def test_dagster_takes_no_variable_by_accident() -> None:
    """Dagster reads DAGSTER_… variables as options of its commands."""
    names = {each for service in SERVICES.values() for each in service.get("environment", {}) if "DAGSTER" in each}
    assert names == {f"DAGSTER_PG_{each}" for each in ("HOST", "PORT", "USERNAME", "DB", "PASSWORD")}
