"""Each `dagster.yaml`, loaded by Dagster: on one host with a real PostgreSQL, and on Kubernetes up to the cluster itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copyfile
from typing import Any

import dagster as dg
import dagster_postgres
import psycopg
import pytest
import yaml
from dagster._core.storage.sql import check_alembic_revision, run_alembic_downgrade
from dagster_postgres.utils import pg_alembic_config

from habla_ml.cli.dagster_home import find_outdated_keys
from habla_ml.defs.run_launcher import WorkerProcessLauncher
from habla_ml.defs.runs import open_dagster_instance
from habla_ml.errors import SettingsError
from habla_ml_tests.testing.deploy_files import DEPLOY, ROOT, read_document
from habla_ml_tests.testing.deployed_databases import DeployedDatabases, serve_databases
from habla_ml_tests.testing.slow_job import wait_job

SHIPPED = ROOT / "dagster_home" / "dagster.yaml"
HOST = DEPLOY / "dagster" / "host_postgres.yaml"
OLDER_REVISION = "46b412388816"
"""Of Dagster's schema, six revisions ago: without the column, the table and the indexes of backfills."""
RUN_CONFIG = {"ops": {"wait_for_file": {"config": {"go_ahead": ""}}}}
VALUES = read_document(DEPLOY / "helm" / "values.yaml")
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "none", "cluster": {"server": "https://127.0.0.1:1"}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "users": [{"name": "none", "user": {}}],
    "current-context": "none",
}


@pytest.fixture(scope="module")
def databases() -> Iterator[DeployedDatabases]:
    with serve_databases() as served:
        yield served


@pytest.fixture
def home(databases: DeployedDatabases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `DAGSTER_HOME` with the shipped file, and its variables."""
    copyfile(HOST, tmp_path / "dagster.yaml")
    for name, value in databases.dagster_variables.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_each_role_reaches_its_own_database_only(databases: DeployedDatabases) -> None:
    for user, other in (("dagster", "habla"), ("habla", "dagster")):
        with databases.connect(user, user) as connection:
            connection.execute("CREATE TABLE of_the_owner ()")
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            databases.connect(user, other)


@pytest.mark.slow
def test_dagster_keeps_its_state_in_postgresql(databases: DeployedDatabases, home: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert isinstance(instance.run_launcher, WorkerProcessLauncher)
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 8  # type: ignore[union-attr]
        run = instance.create_run_for_job(wait_job, run_config=RUN_CONFIG)
        instance.add_dynamic_partitions("model_version", ["v1"])
        instance.report_run_failed(run)
    with dg.DagsterInstance.from_config(str(home)) as restarted:
        assert [each.status for each in restarted.get_runs()] == [dg.DagsterRunStatus.FAILURE]
        assert list(restarted.get_dynamic_partitions("model_version")) == ["v1"]
        assert restarted.event_log_storage.get_logs_for_run(run.run_id)
        [record] = restarted.get_run_records()
    # The server's zone is another one.
    assert abs(record.create_timestamp - datetime.now(UTC)) < timedelta(hours=1)
    with databases.connect("dagster", "dagster") as connection:
        assert connection.execute("SHOW timezone").fetchone() == ("America/New_York",)
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


@pytest.mark.slow
def test_the_migration_of_an_older_schema_keeps_the_runs(databases: DeployedDatabases, home: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run = instance.create_run_for_job(wait_job, run_config=RUN_CONFIG, tags={"made": "before"})
        instance.report_run_failed(run)
        newest = _downgrade(instance)
    assert _read_schema(databases) == (OLDER_REVISION, False)
    command = [str(Path(sys.executable).with_name("dagster")), "instance", "migrate"]
    subprocess.run(command, env={**os.environ, "DAGSTER_HOME": str(home)}, check=True, capture_output=True)
    assert _read_schema(databases) == (newest, True)
    with dg.DagsterInstance.from_config(str(home)) as migrated:
        [found] = migrated.get_runs(filters=dg.RunsFilter(tags={"made": "before"}))
        assert (found.run_id, found.status) == (run.run_id, dg.DagsterRunStatus.FAILURE)
        assert migrated.event_log_storage.get_logs_for_run(run.run_id)
        # The new column is written.
        migrated.create_run_for_job(wait_job, run_config=RUN_CONFIG, tags={"dagster/backfill": "b"})


def _downgrade(instance: dg.DagsterInstance) -> str:
    """Undo Dagster's newer changes of the schema by its own scripts; return the newest revision."""
    config = pg_alembic_config(dagster_postgres.__file__)
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        newest, _ = check_alembic_revision(config, connection)
        run_alembic_downgrade(config, connection, OLDER_REVISION)
    return str(newest)


def _read_schema(databases: DeployedDatabases) -> tuple[str, bool]:
    """Return the revision in the database, and whether the table of runs has the column that later revisions add."""
    with databases.connect("dagster", "dagster") as connection:
        [revision] = connection.execute("SELECT version_num FROM alembic_version").fetchone() or [""]
        columns = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'runs'")
        return revision, ("backfill_id",) in columns.fetchall()


def test_the_file_for_postgresql_differs_from_that_for_sqlite_in_storage_and_runs_only() -> None:
    host, shipped = read_document(HOST), read_document(SHIPPED)
    del host["storage"]
    assert host["concurrency"].pop("runs") != shipped["concurrency"].pop("runs")
    assert host == shipped
    assert find_outdated_keys(HOST, SHIPPED) == []


def test_a_command_without_the_variables_of_the_file_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copyfile(HOST, tmp_path / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for name in ("HOST", "PORT", "USERNAME", "DB"):
        monkeypatch.setenv(f"DAGSTER_PG_{name}", "1")
    monkeypatch.delenv("DAGSTER_PG_PASSWORD", raising=False)
    with pytest.raises(SettingsError, match=r"that are not set: DAGSTER_PG_PASSWORD; give the command the variables"):
        open_dagster_instance().__enter__()


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


@pytest.mark.long
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
    database = read_document(HOST)["storage"]["postgres"]["postgres_db"]
    chart = VALUES["postgresql"]
    assert (chart["postgresqlScheme"], chart["postgresqlParams"]) == (database["scheme"], database["params"])
    # The chart would write these sections a second time.
    daemon = VALUES["dagsterDaemon"]
    assert not any(daemon[key]["enabled"] for key in ("runCoordinator", "runMonitoring", "runRetries"))
