"""The commands, the status, the lineage and Dagster around a dataset on the hub."""

from __future__ import annotations

import dagster as dg
import pytest

from habla_ml.corpus.hub_dataset.pushes import make_tag
from habla_ml.defs.corpus.erased_contributors import build_erased_contributors, build_withdrawals_sensor
from habla_ml.defs.resources import StoreResource, list_store_fields
from habla_ml.lake import DirectoryStore
from habla_ml.lineage.node import LineageBounds
from habla_ml.lineage.trace import trace_lineage
from habla_ml.monitoring.status.corpus_lines import describe_hub_datasets
from habla_ml.monitoring.status.inputs import StatusInputs
from habla_ml.settings import save_settings
from habla_ml_tests.testing.command_line import CommandInProcess
from habla_ml_tests.testing.habla_sessions import NOW
from habla_ml_tests.testing.hub_datasets import (
    DATASET_NAME,
    HUB_TOKEN,
    TEACHER,
    DatasetDeployment,
    deployment,
    hub,
    name_session,
)

__all__ = ["deployment", "hub"]


@pytest.fixture
def command(
    deployment: DatasetDeployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> CommandInProcess:
    monkeypatch.setenv("COLUMNS", "400")
    profile = save_settings(deployment.settings, deployment.workspace.root / "profiles")
    return CommandInProcess(profile, capsys, monkeypatch)


def read_status(deployment: DatasetDeployment) -> list[tuple[str, str]]:
    store = DirectoryStore(deployment.workspace.root / "cdn")
    inputs = StatusInputs(deployment.settings, NOW, lambda: deployment.lake, lambda: store, lambda: None)
    return [(each.health, each.found) for each in describe_hub_datasets(inputs)]


@pytest.mark.long
def test_the_commands_push_and_erase_and_exit_with_1_while_the_hub_has_the_voice(
    deployment: DatasetDeployment, command: CommandInProcess
) -> None:
    tag = make_tag(deployment.snapshot.id)
    neither, both = command.run("export-dataset"), command.run("export-dataset", "out", "--push")
    assert (neither.code, both.code) == (1, 1)
    assert "give a folder to write to, or --push" in neither.err + both.err
    format_too = command.run("export-dataset", "--push", "--format", "nemo")
    assert (format_too.code, "not --format nemo" in format_too.err) == (1, True)
    pushed, again = (command.run("export-dataset", "--push") for _ in range(2))
    assert pushed.code == again.code == 0
    assert f"{deployment.hub.url}/datasets/{DATASET_NAME}: {tag} pushed, commit" in pushed.out
    assert f"{tag} already there" in again.out

    deployment.write_register(withdrawn="2026-05-01")
    dry = command.run("erase", "--contributor", "c-017", "--dry-run")
    assert f"datasets on the Hub with the voice: {DATASET_NAME}" in dry.out
    deployment.hub.is_down = True
    down = command.run("erase", "--contributor", "c-017", "--yes")
    assert down.code == 1
    assert f"not finished: {DATASET_NAME} on the Hub can still have the voice" in down.out
    assert command.run("erase", "--finish").code == 1
    assert read_status(deployment) == [("wrong", f"{DATASET_NAME} can still have a voice whose consent was withdrawn")]

    deployment.hub.is_down = False
    finished = command.run("erase", "--finish")
    assert (finished.code, deployment.repository.tags) == (0, {})
    assert "no repository of the Hub waits for an erasure" in finished.out
    assert command.run("erase").code == 1
    assert read_status(deployment) == [("ok", f"{DATASET_NAME}, 0 snapshots")]
    assert HUB_TOKEN not in command.everything
    assert TEACHER not in command.everything


def test_lineage_leads_from_a_session_to_the_hub(deployment: DatasetDeployment) -> None:
    pushed = deployment.push()
    store = DirectoryStore(deployment.workspace.root / "cdn")
    (root,) = trace_lineage(deployment.lake, store, name_session(0), LineageBounds()).roots
    (snapshot,) = root.below
    assert [(each.kind, each.id, each.details["commit"]) for each in snapshot.below] == [
        ("hub dataset", pushed.tag, pushed.commit)
    ]
    assert snapshot.below[0].details["repository"] == DATASET_NAME


@pytest.mark.long
def test_the_sensor_requests_the_erasure_until_the_hub_has_nothing_left(
    deployment: DatasetDeployment, caplog: pytest.LogCaptureFixture
) -> None:
    settings = deployment.settings
    sensor, asset = build_withdrawals_sensor(settings), build_erased_contributors(settings)
    store = StoreResource(**list_store_fields(settings.lake, str(settings.work_folder / "cache")))

    def tick() -> dg.SensorResult:
        found = sensor(dg.build_sensor_context(instance=instance, resources={"lake": store}))
        assert isinstance(found, dg.SensorResult)
        return found

    def run() -> bool:
        return dg.materialize([asset], resources={"lake": store}, instance=instance, raise_on_error=False).success

    with dg.DagsterInstance.ephemeral() as instance:
        deployment.push()
        deployment.hub.is_down = True
        deployment.erase()
        assert tick().run_requests
        assert not run()
        deployment.hub.is_down = False
        assert tick().run_requests
        assert run()
        assert not tick().run_requests
        events = str(instance.all_logs(instance.get_runs()[0].run_id)) + str(
            instance.all_logs(instance.get_runs()[1].run_id)
        )
    assert deployment.repository.tags == {}
    assert HUB_TOKEN not in events + caplog.text
    assert "Frase" not in events
