"""Push, pull and reconcile against a real Label Studio, which is killed on the way."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import httpx
import pyarrow.parquet as pq
import pytest
import yaml
from playwright.sync_api import Page, expect

from habla_ml.annotation.label_studio import (
    LabelStudio,
    forget_tasks,
    load_pulled,
    open_shelf,
    pulled_days,
    reconcile,
)
from habla_ml.annotation.label_studio import push as pushing
from habla_ml.annotation.label_studio.project import FOLDER
from habla_ml.annotation.review import Objection, load_queue, save_queue
from habla_ml.corpus.build import build_day
from habla_ml.definitions import build_definitions
from habla_ml.defs.jobs import CORRECT
from habla_ml.defs.runs import run_job, tick
from habla_ml.errors import ServiceError
from habla_ml.settings import StoreSettings
from habla_ml_tests.annotation.label_studio.conftest import (
    BUCKET,
    CREDENTIALS,
    DAY,
    Room,
    chosen,
    free_port,
    item,
    segment,
    typed,
)
from habla_ml_tests.test_cli import habla_ml

pytestmark = pytest.mark.slow
SENSOR = "label_studio_corrections"
ITEMS = [item(number) for number in (3, 1, 2)]


def test_each_segment_gets_one_task_in_the_order_of_the_queue_however_often_it_is_pushed(room: Room) -> None:
    first = room.push(ITEMS, batch_size=2)
    assert (first.added, first.known, first.without_audio) == (3, 0, ())
    assert list(room.tasks()) == [segment(3), segment(1), segment(2)]
    again = room.push([*ITEMS, *ITEMS, item(4)])
    assert (again.added, again.known) == (1, 3)
    assert [len(tasks) for tasks in room.tasks().values()] == [1, 1, 1, 1]


def test_what_the_lake_forgot_is_found_on_the_server_before_anything_is_imported(room: Room) -> None:
    room.push(ITEMS)
    room.forget_what_was_pushed()
    assert room.push([*ITEMS, item(4)]).added == 1
    assert [len(tasks) for tasks in room.tasks().values()] == [1, 1, 1, 1]


def test_the_server_serves_the_very_audio_of_the_lake_and_nothing_to_strangers(room: Room) -> None:
    room.push([item(1)])
    key = room.shelf.key_of(DAY, segment(1))
    with room.server.http as http:
        answer = http.get(f"/data/local-files/?d={key}")
    assert answer.status_code == 200
    assert answer.content[:4] == b"fLaC"
    assert answer.content == room.shelf.store.read(key)
    assert httpx.get(f"{room.server.now.url}/data/local-files/?d={key}").status_code != 200


def test_audio_beside_a_lake_on_s3_is_served_by_a_signed_address(
    room: Room, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    lake = StoreSettings(url=f"s3://{BUCKET}/label/studio", endpoint_url=s3_endpoint, region="us-east-1")
    shelf = open_shelf(room.world.settings.model_copy(update={"lake": lake}), room.server.place.documents)
    on_s3 = replace(room, shelf=shelf)
    assert on_s3.push([item(1)]).added == 1
    [[task]] = on_s3.tasks().values()
    with on_s3.server.http as http:
        address = http.get(f"/api/tasks/{task}").json()["data"]["audio"]
        signed = http.get(address).headers["location"]
    assert httpx.get(signed).content == shelf.store.read(shelf.key_of(DAY, segment(1)))
    assert httpx.get(signed).content[:4] == b"fLaC"
    assert len(room.client.source_storages("s3", on_s3.project.id)) == 1


def test_a_segment_without_audio_in_the_lake_is_left_out_and_named(room: Room) -> None:
    stranger = item(9, day="2026-02-17")
    report = room.push([stranger, item(1)])
    assert (report.added, report.without_audio) == (1, (stranger.segment_id,))


def test_what_people_submit_becomes_events_once_and_as_typed(room: Room) -> None:
    room.push([item(number) for number in (1, 2, 3, 4)])
    room.submit(1, typed("  Loh niñoh, ¿eh?  "), chosen("teacher", name="role"), typed("voz baja", name="notes"))
    room.submit(2, typed("texto 2"))
    room.submit(3, typed("texto 3"), chosen("no_speech", "cut_off"))
    room.submit(4, was_cancelled=True)
    report = room.pull()
    assert (report.added, report.skipped, report.set_aside, report.days) == (3, 1, (), (DAY,))
    found = {event.segment_id: event for event in room.events()}
    said = {number: found[segment(number)] for number in (1, 2, 3)}
    assert [said[number].said for number in (1, 2, 3)] == [
        ("  Loh niñoh, ¿eh?  ", "corrected", ""),
        ("texto 2", "confirmed", ""),
        ("texto 3", "unusable", "cut_off,no_speech"),
    ]
    one = said[1]
    assert (one.person, one.source, one.seen_text) == ("habla@localhost.local", "label_studio", "texto 1")
    assert (one.model_version, one.day) == ("v2", DAY)
    assert abs((one.created_at - datetime.now(UTC)).total_seconds()) < 60
    assert segment(4) not in found
    assert pulled_days(room.world.lake) == (DAY,)
    again = room.pull()
    assert (again.added, again.days, again.tasks) == (0, (), 4)
    assert (room.pull(overlap_s=0).tasks, len(room.events())) == (1, 3)


def test_an_edit_is_a_later_word_and_the_earlier_one_stays(room: Room) -> None:
    room.push([item(1)])
    annotation = room.submit(1, typed("uno"))
    room.pull()
    with room.server.http as http:
        http.patch(f"/api/annotations/{annotation}", json={"result": [typed("dos")]}).raise_for_status()
    assert room.pull().added == 1
    assert [event.text for event in room.events()] == ["uno", "dos"]
    with room.server.http as http:
        http.delete(f"/api/annotations/{annotation}").raise_for_status()
    assert room.pull().added == 0
    found = reconcile(room.world.lake, room.client, room.project)
    assert found.withdrawn == (segment(1),)
    assert [event.text for event in room.events()] == ["uno", "dos"]


def test_wrong_shapes_are_set_aside_until_mended_and_hide_nothing(room: Room) -> None:
    room.push([item(number) for number in (1, 2, 3)])
    broken = room.submit(1, {"from_name": "transcription", "type": "textarea", "value": {"text": [7]}})
    room.submit(2, typed("x" * 10_001))
    room.submit(3, typed("tres"))
    shown = {"audio": "x", "hint": "", "context": ""}
    foreign = [
        {"data": {**shown, "segment_id": "../../etc", "day": DAY}},
        {"data": {**shown, "segment_id": segment(99), "day": DAY}},
        {"data": shown},
    ]
    with room.server.http as http:
        made = http.post(f"/api/projects/{room.project.id}/import?return_task_ids=true", json=foreign).json()
        for task in made["task_ids"]:
            http.post(f"/api/tasks/{task}/annotations", json={"result": [typed("mal")]}).raise_for_status()
    report = room.pull()
    assert [event.text for event in room.events()] == ["tres"]
    reasons = " | ".join(sorted(each.reason for each in report.set_aside))
    assert len(report.set_aside) == 5
    for word in ("value.text", "10000", "is none that the lake has", "pattern", "Field required"):
        assert word in reasons
    assert len(room.pull().set_aside) == 5
    assert len(load_pulled(room.world.lake, room.project).set_aside) == 5
    with room.server.http as http:
        http.patch(f"/api/annotations/{broken}", json={"result": [typed("uno")]}).raise_for_status()
    assert room.pull(overlap_s=0).added == 1
    assert len(load_pulled(room.world.lake, room.project).set_aside) == 4


def test_a_deleted_task_is_made_again_and_a_doubled_one_deleted(room: Room) -> None:
    room.push(ITEMS)
    room.submit(2, typed("dos"))
    room.pull()
    tasks = room.tasks()
    room.client.delete_task(tasks[segment(1)][0])
    with room.server.http as http:
        data = {"audio": "x", "segment_id": segment(2), "hint": "", "context": "", "day": DAY}
        http.post(f"/api/projects/{room.project.id}/import", json=[{"data": data}]).raise_for_status()
    found = reconcile(room.world.lake, room.client, room.project)
    assert (found.tasks, found.gone, found.doubled) == (2, (segment(1),), 1)
    assert room.tasks()[segment(2)] == tasks[segment(2)]
    assert room.push(ITEMS).added == 1
    assert room.push(ITEMS).added == 0
    assert [event.text for event in room.events()] == ["dos"]


def test_killed_in_the_middle_of_an_import_and_started_again_nothing_is_lost_or_doubled(room: Room) -> None:
    copies = [item(1, segment_id=f"{number:08d}-0000-5000-8000-000000000000") for number in range(4_000)]
    project, lake = room.project, room.world.lake
    tasks = [pushing._task(each, room.shelf) for each in copies]

    def import_all() -> None:
        state = pushing.load_pushed(lake, project)
        for start in range(0, len(tasks), 1_000):
            state = pushing._import(lake, room.client, project, state, tasks[start : start + 1_000])

    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(import_all)
        while not pushing.load_pushed(lake, project).rounds:
            time.sleep(0.01)
        time.sleep(0.25)
        assert not importing.done()
        room.server.kill()
        room.server.start()
        importing.result(timeout=120)
    found = room.tasks()
    assert len(found) == 4_000
    assert {len(each) for each in found.values()} == {1}


def test_a_server_that_is_down_says_what_to_do_and_one_that_comes_back_is_waited_for(room: Room) -> None:
    room.push([item(1)])
    room.submit(1, typed("uno"))
    project = room.project
    room.server.kill()
    hasty = LabelStudio(room.server.place.url, "x", patience_s=0.5)
    with hasty, pytest.raises(ServiceError, match="label-studio up"):
        hasty.users()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(room.client.users)
        room.server.start()
        assert asking.result(timeout=60)
    assert project == room.project
    assert room.pull().added == 1


def test_a_personal_access_token_is_exchanged_and_again_when_it_ran_out(room: Room) -> None:
    room.push([item(1)])
    with room.server.http as http:
        personal = http.post("/api/token/", json={}).json()["token"]
    with LabelStudio(room.server.place.url, personal) as client:
        assert client.users()
        client._access = client._access[:-4] + "xxxx"
        assert client.projects(room.title)
        assert not client._access.endswith("xxxx")
    revoked = LabelStudio(room.server.place.url, personal[:-4] + "xxxx")
    with revoked, pytest.raises(ServiceError, match="make a new one"):
        revoked.users()
    stranger = LabelStudio(room.server.place.url, "0" * 40)
    with stranger, pytest.raises(ServiceError, match="refuses the token") as refused:
        stranger.users()
    assert "0" * 40 not in str(refused.value)


def test_the_token_is_for_its_owner_alone_and_in_no_log(room: Room) -> None:
    place, login = room.server.place, room.server.now.login
    assert stat.S_IMODE((place.folder / "login.json").stat().st_mode) == 0o600
    log = place.log.read_text("utf-8", errors="replace")
    assert login.token not in log
    assert login.password not in log


def test_a_transcript_corrected_in_a_browser_arrives_in_the_corpus(room: Room, page: Page) -> None:
    room.push([item(1, hint="loh niñoh están paoraos"), item(2)])
    login, asked = room.server.now.login, set[str | None]()
    page.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
    page.goto(f"{room.server.now.url}/user/login/")
    page.fill("input[name=email]", login.username)
    page.fill("input[name=password]", login.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "login" not in url, wait_until="commit")
    page.goto(f"{room.project.page}?labeling=1", wait_until="domcontentloaded")
    text = page.locator("textarea[name=transcription]")
    expect(text).to_have_value("loh niñoh están paoraos", timeout=60_000)
    text.fill("Los niños están parados.")
    page.get_by_role("button", name="Submit current annotation").click()
    expect(text).to_have_value("texto 2", timeout=60_000)
    with page.expect_response(lambda answer: answer.request.method == "POST" and "annotations" in answer.url):
        page.get_by_role("button", name="Submit current annotation").click()
    assert asked <= {"127.0.0.1", None}, "nothing of a classroom goes elsewhere"
    assert room.pull().added == 2
    found = {event.segment_id: event for event in room.events()}
    assert found[segment(1)].said == ("Los niños están parados.", "corrected", "")
    assert found[segment(2)].said == ("texto 2", "confirmed", "")
    assert found[segment(1)].person == login.username
    built = build_day(room.world.lake, DAY, room.world.conventions, room.world.settings)
    rows = pq.read_table(room.world.lake.path_of(built.parquet)).to_pylist()
    sentences = {row["segment_id"]: row["sentence"] for row in rows}
    assert sentences[segment(1)] == "Los niños están parados."


def test_the_sensor_pulls_and_asks_for_the_days_until_their_text_is_written(room: Room) -> None:
    definitions = build_definitions(room.world.settings)
    with dg.DagsterInstance.ephemeral() as instance:
        assert "nothing was pushed" in str(tick(definitions, instance, SENSOR).skip_reason)
        room.push([item(1)])
        room.submit(1, typed("Uno."))
        for _ in range(2):
            [request] = tick(definitions, instance, SENSOR).run_requests or ()
            assert request.partition_key == DAY
        assert run_job(definitions, instance, CORRECT, DAY).success
        assert not tick(definitions, instance, SENSOR).run_requests
    assert [event.text for event in room.events()] == ["Uno."]


def test_the_commands_push_the_queue_pull_and_reconcile(room: Room) -> None:
    profile = room.world.root / "configs" / "mine.yaml"
    profile.parent.mkdir()
    profile.write_text(yaml.safe_dump(room.world.settings.model_dump(mode="json", exclude={"profile"})))

    def label_studio(command: str) -> str:
        found = habla_ml("label-studio", command, "-p", str(profile))
        assert found.returncode == 0, found.stderr
        return found.stdout

    save_queue(room.world.lake, [item(1), item(2)], datetime.now(UTC))
    assert "2 new tasks, 0 were there already" in label_studio("push")
    room.submit(1, typed("uno"))
    room.submit(2, typed(" "))
    pulled = label_studio("pull")
    assert "1 new events" in pulled
    assert "neither text nor a reason" in pulled
    assert DAY in pulled
    room.client.delete_task(room.tasks()[segment(2)][0])
    assert "1 had been deleted on the server, 1 tasks of the queue were made anew" in label_studio("reconcile")
    assert len(room.tasks()) == 2


def test_an_erased_segment_loses_its_task_answered_or_not_and_its_audio(room: Room) -> None:
    room.push(ITEMS)
    room.submit(1, typed("Uno 1."))
    room.push([item(1, objection=Objection(1, ("digits",), "c", "t"))])
    assert forget_tasks(room.world.settings, room.client, [segment(1), segment(2)]) == 3
    assert list(room.tasks()) == [segment(3)]
    audio = {entry.key for entry in room.shelf.store.list(f"{FOLDER}/")}
    assert [room.shelf.key_of(DAY, segment(number)) in audio for number in (1, 2, 3)] == [False, False, True]
    assert forget_tasks(room.world.settings, room.client, [segment(1), segment(2)]) == 0


def test_materialising_the_review_queue_pushes_it(room: Room) -> None:
    definitions = build_definitions(room.world.settings)
    assets = [each for each in definitions.assets or () if isinstance(each, dg.AssetsDefinition)]
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            assets,
            selection=dg.AssetSelection.assets("review_queue"),
            instance=instance,
            resources=dict(definitions.resources or {}),
        )
        [made] = result.asset_materializations_for_node("review_queue")
    queue = load_queue(room.world.lake)
    assert queue is not None
    assert set(room.tasks()) == {each.segment_id for each in queue.items} != set()
    assert made.metadata["label studio"].value == room.project.page


def test_up_serves_until_it_is_stopped_and_leaves_no_server_behind(room: Room, tmp_path: Path) -> None:
    port = free_port()
    settings = room.world.settings.model_dump(mode="json", exclude={"profile"})
    settings["annotation"]["label_studio"] |= {"port": port, "documents": str(tmp_path / "documents")}
    profile = tmp_path / "configs" / "mine.yaml"
    profile.parent.mkdir()
    profile.write_text(yaml.safe_dump(settings))
    command = [Path(sys.executable).with_name("habla-ml"), "label-studio", "up", "-p", str(profile)]
    up = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "300"})
    said = ""
    while "Ctrl-C" not in said:
        line = up.stdout.readline()
        assert line, said
        said += line
    assert f"http://127.0.0.1:{port}" in said
    assert room.server.now.login.password not in said
    assert httpx.get(f"http://127.0.0.1:{port}/health").is_success
    up.kill()
    up.wait()
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server outlived its parent")
