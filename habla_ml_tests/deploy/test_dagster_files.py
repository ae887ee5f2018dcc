"""Each `dagster.yaml`, loaded by Dagster: on one host with a real PostgreSQL, and on Kubernetes up to the cluster itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml

from habla_ml.cli.dagster_home import find_outdated_keys
from habla_ml.defs.run_launcher import WorkerProcessLauncher
from habla_ml_tests.testing.deploy_files import DEPLOY, ROOT, read_document
from habla_ml_tests.testing.postgres_server import PASSWORD, PostgresServer, find_programs
from habla_ml_tests.testing.slow_job import wait_job

SHIPPED = ROOT / "dagster_home" / "dagster.yaml"
HOST = DEPLOY / "dagster" / "host_postgres.yaml"
VALUES = read_document(DEPLOY / "helm" / "values.yaml")
ADMINISTRATOR = "administrator"
PASSWORDS = {"dagster": "d'a\"g$ster/1", "habla": "h:a\\bl@a 2"}
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "none", "cluster": {"server": "https://127.0.0.1:1"}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "users": [{"name": "none", "user": {}}],
    "current-context": "none",
}


def connect(server: PostgresServer, user: str, database: str) -> psycopg.Connection:
    password = PASSWORDS.get(user, PASSWORD)
    address = {"host": "127.0.0.1", "port": server.port, "user": user, "dbname": database}
    return psycopg.connect(**address, password=password, autocommit=True)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of its own, because the script creates a role that is the administrator of the others."""
    if (programs := find_programs()) is None:
        pytest.skip("no PostgreSQL 15 or newer: apt-get install -y --no-install-recommends postgresql, then run again")
    started = PostgresServer(programs)
    with started.connect() as connection:
        connection.execute(f"CREATE ROLE {ADMINISTRATOR} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")  # type: ignore[arg-type]
    with connect(started, ADMINISTRATOR, "postgres") as connection:
        connection.execute("ALTER ROLE habla RENAME TO first_administrator")
        connection.execute("DROP DATABASE habla")
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "POSTGRES_USER": ADMINISTRATOR,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(started.port),
        "PGPASSWORD": PASSWORD,
        "DAGSTER_PG_PASSWORD": PASSWORDS["dagster"],
        "HABLA_DATABASE_PASSWORD": PASSWORDS["habla"],
    }
    subprocess.run(["sh", str(DEPLOY / "postgres" / "create_databases.sh")], env=environment, check=True)
    yield started
    started.stop()


def test_each_role_reaches_its_own_database_only(server: PostgresServer) -> None:
    for user, other in (("dagster", "habla"), ("habla", "dagster")):
        with connect(server, user, user) as connection:
            connection.execute("CREATE TABLE of_the_owner ()")
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            connect(server, user, other)


@pytest.mark.slow
def test_dagster_keeps_its_state_in_postgresql(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_document(HOST)
    config["storage"]["postgres"]["postgres_db"]["port"] = server.port
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    for name, value in {"HOST": "127.0.0.1", "USERNAME": "dagster", "DB": "dagster"}.items():
        monkeypatch.setenv(f"DAGSTER_PG_{name}", value)
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", PASSWORDS["dagster"])
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.run_launcher, WorkerProcessLauncher)
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 8  # type: ignore[union-attr]
        run = instance.create_run_for_job(wait_job, run_config={"ops": {"wait_for_file": {"config": {"go_ahead": ""}}}})
        instance.add_dynamic_partitions("model_version", ["v1"])
        instance.report_run_failed(run)
    with dg.DagsterInstance.from_config(str(tmp_path)) as restarted:
        assert [each.status for each in restarted.get_runs()] == [dg.DagsterRunStatus.FAILURE]
        assert list(restarted.get_dynamic_partitions("model_version")) == ["v1"]
        assert restarted.event_log_storage.get_logs_for_run(run.run_id)
    with connect(server, "dagster", "dagster") as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_the_file_for_postgresql_differs_from_that_for_sqlite_in_storage_and_runs_only() -> None:
    host, shipped = read_document(HOST), read_document(SHIPPED)
    del host["storage"]
    assert host["concurrency"].pop("runs") != shipped["concurrency"].pop("runs")
    assert host == shipped
    assert find_outdated_keys(HOST, SHIPPED) == []


def build_kubernetes_config(folder: Path) -> dict[str, Any]:
    """Return the `dagster.yaml` that the chart makes of the values, with storage in a folder and no cluster."""
    launcher = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    (folder / "kubeconfig").write_text(yaml.safe_dump(KUBECONFIG))
    names = {
        "containerConfig": "container_config",
        "podSpecConfig": "pod_spec_config",
        "jobSpecConfig": "job_spec_config",
    }
    config = {
        "image_pull_policy": launcher["imagePullPolicy"],
        "load_incluster_config": False,
        "kubeconfig_file": str(folder / "kubeconfig"),
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "dagster_home": VALUES["global"]["dagsterHome"],
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "run_k8s_config": {names[key]: value for key, value in launcher["runK8sConfig"].items()},
    }
    scheduler = {"max_tick_retries": VALUES["scheduler"]["config"]["daemonScheduler"]["maxTickRetries"]}
    return {
        **VALUES["additionalInstanceConfig"],
        "run_launcher": {"module": "dagster_k8s", "class": VALUES["runLauncher"]["type"], "config": config},
        "scheduler": {"module": "dagster.core.scheduler", "class": VALUES["scheduler"]["type"], "config": scheduler},
        "telemetry": VALUES["telemetry"],
    }


def test_dagster_loads_the_launcher_and_the_sections_of_the_helm_values(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(build_kubernetes_config(tmp_path)))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert type(instance.run_launcher).__name__ == "K8sRunLauncher"
        assert instance.run_launcher.supports_check_run_worker_health
        # A lost run is repeated by `run_retries`, not resumed in a second pod beside a first that may live.
        assert instance.run_monitoring_max_resume_run_attempts == 0
        assert (instance.run_monitoring_enabled, instance.run_retries_enabled) == (True, True)
        assert not instance.telemetry_enabled
    assert find_outdated_keys(tmp_path / "dagster.yaml", SHIPPED) == []


def test_the_helm_values_repeat_the_rules_of_the_shipped_file() -> None:
    shipped, ours = read_document(SHIPPED), VALUES["additionalInstanceConfig"]
    assert {key: ours[key] for key in ("run_retries", "retention", "nux")} == {
        key: shipped[key] for key in ("run_retries", "retention", "nux")
    }
    assert ours["concurrency"]["pools"] == shipped["concurrency"]["pools"]
    assert set(shipped["run_monitoring"]) <= set(ours["run_monitoring"])
    # The chart would write these sections a second time.
    daemon = VALUES["dagsterDaemon"]
    assert not any(daemon[key]["enabled"] for key in ("runCoordinator", "runMonitoring", "runRetries"))
