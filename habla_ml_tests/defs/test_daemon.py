"""The pipeline of a deployment with a real daemon, code server and run workers, and what its runs left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shutil import copytree

import dagster as dg
import pytest
import yaml
from fastapi.testclient import TestClient

from habla_ml.code_identity import read_code_identity
from habla_ml.corpus.snapshot import load_latest_snapshot
from habla_ml.definitions import build_definitions
from habla_ml.defs.models.replicates import train_replicates
from habla_ml.defs.partitions import MODEL_VERSIONS
from habla_ml.defs.result_metadata import shorten_ids
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.lake.factory import open_store
from habla_ml.lineage.node import LineageBounds
from habla_ml.lineage.trace import trace_lineage
from habla_ml.release.override import sign_override
from habla_ml.release.published import list_releases
from habla_ml.service.app import create_app
from habla_ml.service.state import ServiceState
from habla_ml.settings import load_settings
from habla_ml.training.plan import read_plan
from habla_ml.training.record import read_training_record
from habla_ml.training.replicate_plans import plan_next_replicates
from habla_ml_tests.defs.conftest import (
    FULL_EVALUATION,
    MONDAY,
    RECIPE,
    ROOT,
    TUESDAY,
    DagsterDeployment,
    build_tree,
    find_failure,
)
from habla_ml_tests.testing.readable_metadata import require_readable_metadata
from habla_ml_tests.testing.spoken_words import (
    SPOKEN_WORD,
    collect_spoken_texts,
    find_texts,
    insert_spoken_word,
    read_dagster_home,
)

DEADLINE_S = 900
pytestmark = [pytest.mark.slow, pytest.mark.timeout(DEADLINE_S + 180)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, two_days: Path) -> Path:
    """Return the folder of a deployment whose daemon trained and scored v1, and ended."""
    folder = Path(copytree(two_days, tmp_path_factory.mktemp("live"), dirs_exist_ok=True))
    tree = build_tree({"growth_hours": 0.02, "sensor_interval_s": 4})
    tree["evaluation"] |= FULL_EVALUATION
    tree["service"] = {"public_url": "https://habla.example"}
    for session in (folder / "recordings").iterdir():
        insert_spoken_word(session)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    (folder / "configs").mkdir()
    (folder / "configs" / "test.yaml").write_text(yaml.safe_dump(tree))
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text((ROOT / "dagster_home" / "dagster.yaml").read_text())
    # One process creates the storage: two at once can give Dagster's SQLite storage two heads.
    with dg.DagsterInstance.from_config(str(folder / "home")) as instance:
        run_daemon_until_trained(folder, instance)
    return folder


def run_daemon_until_trained(folder: Path, instance: dg.DagsterInstance) -> None:
    """Run the daemon of a deployment until its training job is finished; a failed run is an error."""
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(folder / "home"),
        "HABLA_CONFIGS": str(folder / "configs"),
        "HABLA_PROFILE": "test",
    }
    log, deadline = folder / "daemon.log", time.monotonic() + DEADLINE_S
    with log.open("wb") as out:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("dagster-daemon"), "run", "-w", ROOT / "workspace.yaml"],
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        while not any(run.is_finished for run in list_runs(instance, "train_and_release")):
            alive = process.poll() is None and time.monotonic() < deadline
            assert alive, log.read_text()[-5000:]
            failed = instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=1)
            assert not failed, f"{failed[0].job_name}: {log.read_text()[-5000:]}"
            time.sleep(2)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def list_runs(instance: dg.DagsterInstance, job: str) -> list[dg.DagsterRun]:
    return list(instance.get_runs(filters=dg.RunsFilter(job_name=job)))


@pytest.fixture(scope="module")
def trained(home: Path) -> Iterator[DagsterDeployment]:
    """Return the deployment without its daemon."""
    settings = load_settings(home / "configs" / "test.yaml", {})
    with dg.DagsterInstance.from_config(str(home / "home")) as instance:
        yield DagsterDeployment(home, settings, build_definitions(settings), instance)


def test_the_daemon_ingests_new_days_and_trains_and_evaluates_a_version(trained):
    (run,) = list_runs(trained.instance, "train_and_release")
    assert run.status == dg.DagsterRunStatus.SUCCESS
    days = {run.tags["dagster/partition"] for run in list_runs(trained.instance, "ingest_day")}
    assert days == {MONDAY, TUESDAY}
    assert trained.instance.get_dynamic_partitions(MODEL_VERSIONS) == ["v1"]
    comparison = read_stored_comparison(trained.lake(), "v1")
    assert [model.role for model in comparison.models] == ["base", "candidate"]
    # Four steps on few sessions give no release: a normal outcome, and the channel stays empty.
    assert trained.metadata("cdn_release", "v1")["released"] is False
    assert list_stable_releases(trained) == []


def list_stable_releases(deployment: DagsterDeployment) -> list[object]:
    return list(list_releases(open_store(deployment.settings.release.store), "stable"))


def test_the_metadata_have_figures_plots_and_links(trained):
    checkpoint, report = trained.metadata("fine_tuned_checkpoint", "v1"), trained.metadata("wer_report", "v1")
    assert checkpoint["steps"] == 4
    assert checkpoint["loss"].startswith("![training loss](<data:image/svg+xml,")
    assert report["clips decoded now"] > 0
    assert report["page"] == "https://habla.example/reports/v1"
    for asset in (checkpoint, report):
        assert asset["lineage"].startswith("`habla-ml lineage v1 -p ")
    assert f"| snapshot\\_id | {checkpoint['snapshot']} |" in report["provenance"]
    assert checkpoint["code"] == shorten_ids(str(read_code_identity()))
    assert report["WER with intervals"].startswith("![WER, 95 % intervals](<data:image/svg+xml,")
    assert trained.metadata("coreml_zip", "v1")["encoder PSNR dB"] > 45
    for shown in ("coreml, float16", "coreml, as phone", "(interpreter)"):
        assert shown in report["export formats"]


def test_scoring_and_training_again_do_no_work(trained):
    before, checkpoint = read_stored_comparison(trained.lake(), "v1"), trained.metadata("fine_tuned_checkpoint", "v1")
    for asset in ("wer_report", "fine_tuned_checkpoint"):
        result = trained.materialize(asset, "v1")
        assert result.success, f"{asset}: {find_failure(result)}"
    assert trained.metadata("wer_report", "v1")["clips decoded now"] == 0
    assert read_stored_comparison(trained.lake(), "v1") == before
    again = trained.metadata("fine_tuned_checkpoint", "v1")
    assert again["checkpoint"] == checkpoint["checkpoint"]


def test_a_release_by_a_persons_decision_names_its_ancestors(trained):
    lake, settings = trained.lake(), trained.settings
    reason = "It is the only version that this test trains."
    sign_override(lake, "v1", "Ana Ruiz", reason, datetime.now(UTC), partial(decide, settings=settings.promotion))
    assert trained.materialize("cdn_release", "v1").success
    released, record = trained.metadata("cdn_release", "v1"), read_training_record(lake, "v1")
    assert (released["released"], released["checkpoint"]) == (True, record.tree[:16])
    assert released["lineage"] == f"`{settings.command('lineage', released['version'])}`"
    assert released["snapshot of the training"] == load_latest_snapshot(lake).id[:16]
    assert released["code of the training"] == released["code of the release"] == shorten_ids(str(read_code_identity()))
    found = trace_lineage(lake, open_store(settings.release.store), released["version"], LineageBounds())
    assert found.roots[0].below[0].details["record"][:16] == released["training record"]


def test_a_replicate_adds_the_spread_over_seeds_and_is_not_released(trained):
    lake, messages = trained.lake(), []
    assert read_stored_comparison(lake, "v1").seeds is None
    before, released = read_plan(lake, "v1"), list_stable_releases(trained)
    (plan,) = plan_next_replicates(lake, "v1", 1, trained.settings.work_folder)
    trained.instance.add_dynamic_partitions(MODEL_VERSIONS, [plan.version])
    train_replicates(trained.definitions, trained.instance, "v1", [plan.version], messages.append)
    first, second = read_training_record(lake, "v1"), read_training_record(lake, "v1-s2")
    assert (first.tree != second.tree, second.identity.seed - first.identity.seed) == (True, 1)
    seeds = read_stored_comparison(lake, "v1").seeds
    assert [each.version for each in seeds.runs] == ["v1", "v1-s2"]
    shown = trained.metadata("wer_report", "v1")
    assert shown["seeds"].startswith("The WER over 2 training seeds is ")
    assert shown["clips decoded now"] == 0
    assert read_plan(lake, "v1") == before
    assert trained.materialize("cdn_release", "v1-s2").success
    assert trained.metadata("cdn_release", "v1-s2")["released"] is False
    assert list_stable_releases(trained) == released


def test_no_text_of_the_corpus_and_no_hypothesis_is_in_dagsters_storage(trained):
    texts = collect_spoken_texts(trained.lake())
    examples = read_stored_comparison(trained.lake(), "v1").examples
    assert any(SPOKEN_WORD in each.reference for each in examples)
    assert texts & {hypothesis.text for each in examples for hypothesis in each.hypotheses}
    stored = list(read_dagster_home(trained.folder / "home"))
    assert find_texts(stored, ["wer_report"])  # the search reads what Dagster wrote
    assert find_texts(stored, [SPOKEN_WORD, *texts]) == []


def test_the_pages_that_the_metadata_link_to_open_in_the_service(trained):
    service = trained.settings.service.model_copy(update={"public_url": None})
    local = trained.settings.model_copy(update={"service": service})
    client = TestClient(create_app(ServiceState(local)), local.service.address, client=("127.0.0.1", 50_000))
    for asset, partition in (("wer_report", "v1"), ("annotated_corpus", MONDAY)):
        address, _, path = trained.metadata(asset, partition)["page"].partition("example")
        assert address == "https://habla."
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"].startswith("text/html"), path


def test_the_metadata_of_every_asset_of_the_loop_are_in_one_order_and_fit_their_column(trained):
    keys = trained.instance.all_asset_keys()
    records = [each for key in keys for each in trained.instance.fetch_materializations(key, limit=20).records]
    found = [each.asset_materialization for each in records]
    assert {each.asset_key.to_user_string() for each in found} >= {
        "raw_recordings",
        "splits",
        "wer_report",
        "cdn_release",
    }
    for each in found:
        require_readable_metadata(each.metadata)
