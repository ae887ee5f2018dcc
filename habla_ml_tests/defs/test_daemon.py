"""The pipeline of a deployment with a real daemon, code server and run workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import dagster as dg
import pytest
import yaml

from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.lake.factory import open_lake, open_store
from habla_ml.release.published import list_releases
from habla_ml.settings import load_settings
from habla_ml_tests.defs.conftest import MONDAY, ROOT, TUESDAY

DEADLINE_S = 420


@pytest.fixture
def home(tmp_path: Path, two_days: Path, tree: dict, recipe: dict) -> Path:
    copytree(two_days, tmp_path, dirs_exist_ok=True)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "configs").mkdir()
    tree["automation"] = {"growth_hours": 0.02, "sensor_interval_s": 1}
    (tmp_path / "configs" / "test.yaml").write_text(yaml.safe_dump(tree))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text((ROOT / "dagster_home" / "dagster.yaml").read_text())
    # One process creates the storage: two at once can give Dagster's SQLite storage two heads.
    with dg.DagsterInstance.from_config(str(tmp_path / "home")):
        pass
    return tmp_path


@pytest.fixture
def daemon(home: Path) -> Iterator[subprocess.Popen]:
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home / "home"),
        "HABLA_CONFIGS": str(home / "configs"),
        "HABLA_PROFILE": "test",
    }
    with (home / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("dagster-daemon"), "run", "-w", ROOT / "workspace.yaml"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        yield process
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def runs_of(instance: dg.DagsterInstance, job: str) -> list[dg.DagsterRun]:
    return list(instance.get_runs(filters=dg.RunsFilter(job_name=job)))


@pytest.mark.slow
@pytest.mark.timeout(DEADLINE_S + 60)
def test_the_daemon_ingests_new_days_and_trains_and_evaluates_a_version(home, daemon):
    deadline = time.monotonic() + DEADLINE_S
    with dg.DagsterInstance.from_config(str(home / "home")) as instance:
        while not (done := [r for r in runs_of(instance, "train_and_release") if r.is_finished]):
            alive = daemon.poll() is None and time.monotonic() < deadline
            assert alive, (home / "daemon.log").read_text()[-5000:]
            failed = [run for run in instance.get_runs() if run.status == dg.DagsterRunStatus.FAILURE]
            assert not failed, f"{failed[0].job_name}: {(home / 'daemon.log').read_text()[-5000:]}"
            time.sleep(1)
        assert done[0].status == dg.DagsterRunStatus.SUCCESS
        assert {run.tags["dagster/partition"] for run in runs_of(instance, "ingest_day")} == {MONDAY, TUESDAY}
        assert instance.get_dynamic_partitions(MODEL_VERSIONS) == ["v1"]
    settings = load_settings(home / "configs" / "test.yaml", {})
    comparison = read_stored_comparison(open_lake(settings.lake, settings.work_folder / "cache"), "v1")
    assert [model.role for model in comparison.models] == ["base", "candidate"]
    # Four steps on few sessions give no release: a normal outcome, and the channel stays empty.
    assert list_releases(open_store(settings.release.store), settings.release.channel) == []
