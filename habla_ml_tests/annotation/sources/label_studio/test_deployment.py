"""The sensor, the review queue and the commands with a real Label Studio."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import httpx
import pytest
import yaml

from habla_ml.annotation.review_queue import load_queue, save_queue
from habla_ml.definitions import build_definitions
from habla_ml.defs.jobs import CORRECT
from habla_ml.defs.runs import run_job, tick
from habla_ml_tests.annotation.sources.label_studio.conftest import (
    DAY,
    ReviewProject,
    build_segment_id,
    build_text_result,
    find_free_port,
    make_review_item,
)
from habla_ml_tests.testing.command_line import run_habla_ml

pytestmark = pytest.mark.slow
SENSOR = "label_studio_corrections"


def test_the_sensor_pulls_and_requests_days_until_their_text_is_built(review_project: ReviewProject) -> None:
    definitions = build_definitions(review_project.workspace.settings)
    with dg.DagsterInstance.ephemeral() as instance:
        assert "nothing was pushed" in str(tick(definitions, instance, SENSOR).skip_reason)
        review_project.push([make_review_item(1)])
        review_project.submit(1, build_text_result("Uno."))
        for _ in range(2):
            [request] = tick(definitions, instance, SENSOR).run_requests or ()
            assert request.partition_key == DAY
        assert run_job(definitions, instance, CORRECT, DAY).success
        assert not tick(definitions, instance, SENSOR).run_requests
    assert [event.text for event in review_project.events()] == ["Uno."]


def test_the_commands_push_pull_and_reconcile(review_project: ReviewProject) -> None:
    profile = review_project.workspace.root / "configs" / "mine.yaml"
    profile.parent.mkdir()
    profile.write_text(yaml.safe_dump(review_project.workspace.settings.model_dump(mode="json", exclude={"profile"})))

    def label_studio(command: str) -> str:
        found = run_habla_ml("label-studio", command, "-p", str(profile))
        assert found.returncode == 0, found.stderr
        return found.stdout

    save_queue(review_project.workspace.lake, [make_review_item(1), make_review_item(2)], datetime.now(UTC))
    assert "2 new tasks, 0 existed already" in label_studio("push")
    review_project.submit(1, build_text_result("uno"))
    review_project.submit(2, build_text_result(" "))
    pulled = label_studio("pull")
    assert "1 new events" in pulled
    assert "neither text nor a reason" in pulled
    assert DAY in pulled
    review_project.client.delete_task(review_project.tasks()[build_segment_id(2)][0])
    assert "1 were deleted on the server, 1 tasks of the queue were created again" in label_studio("reconcile")
    assert len(review_project.tasks()) == 2


def test_materialising_the_review_queue_pushes_it(review_project: ReviewProject) -> None:
    definitions = build_definitions(review_project.workspace.settings)
    assets = [each for each in definitions.assets or () if isinstance(each, dg.AssetsDefinition)]
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            assets,
            selection=dg.AssetSelection.assets("review_queue"),
            instance=instance,
            resources=dict(definitions.resources or {}),
        )
        [made] = result.asset_materializations_for_node("review_queue")
    queue = load_queue(review_project.workspace.lake)
    assert queue is not None
    assert set(review_project.tasks()) == {each.segment_id for each in queue.items} != set()
    assert made.metadata["label studio"].value == review_project.project.page


def test_up_serves_until_it_is_killed_and_its_server_ends_with_it(
    review_project: ReviewProject, tmp_path: Path
) -> None:
    port = find_free_port()
    settings = review_project.workspace.settings.model_dump(mode="json", exclude={"profile"})
    settings["annotation"]["label_studio"] |= {"port": port, "documents": str(tmp_path / "documents")}
    profile = tmp_path / "configs" / "mine.yaml"
    profile.parent.mkdir()
    profile.write_text(yaml.safe_dump(settings))
    command = [Path(sys.executable).with_name("habla-ml"), "label-studio", "up", "-p", str(profile)]
    up = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "300"})
    output = ""
    while "Ctrl-C" not in output:
        line = up.stdout.readline()
        assert line, output
        output += line
    assert f"http://127.0.0.1:{port}" in output
    assert review_project.server.current.login.password not in output
    assert httpx.get(f"http://127.0.0.1:{port}/health").is_success
    up.kill()
    up.wait()
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server still runs after its parent")
