"""Push, pull and reconcile with a real Label Studio, which some tests kill."""

from __future__ import annotations

import stat
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect

from habla_ml.annotation.review_queue import ReviewRequest
from habla_ml.annotation.sources.label_studio import push as pushing
from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.annotation.sources.label_studio.configured_server import delete_tasks
from habla_ml.annotation.sources.label_studio.project import AUDIO_FOLDER_NAME, open_audio_folder
from habla_ml.annotation.sources.label_studio.pull import list_pulled_days, load_pull_state
from habla_ml.annotation.sources.label_studio.reconcile import reconcile
from habla_ml.corpus.build import build_day
from habla_ml.errors import ServiceError
from habla_ml.lake.table import read_parquet
from habla_ml.settings import StoreSettings
from habla_ml_tests.annotation.sources.label_studio.conftest import (
    DAY,
    ReviewProject,
    build_choices_result,
    build_segment_id,
    build_text_result,
    make_review_item,
)
from habla_ml_tests.testing.s3_clients import BUCKET, CREDENTIALS
from habla_ml_tests.testing.tls_servers import CertificateAuthority, Reply, SentRequest, run_web_server

pytestmark = pytest.mark.slow
ITEMS = [make_review_item(number) for number in (3, 1, 2)]


def test_repeated_pushes_give_each_segment_one_task_in_the_order_of_the_queue(
    review_project: ReviewProject,
) -> None:
    first = review_project.push(ITEMS, batch_size=2)
    assert (first.added, first.known, first.without_audio) == (3, 0, ())
    assert list(review_project.tasks()) == [build_segment_id(3), build_segment_id(1), build_segment_id(2)]
    again = review_project.push([*ITEMS, *ITEMS, make_review_item(4)])
    assert (again.added, again.known) == (1, 3)
    assert [len(tasks) for tasks in review_project.tasks().values()] == [1, 1, 1, 1]


def test_a_push_without_its_state_finds_the_tasks_on_the_server(
    review_project: ReviewProject,
) -> None:
    review_project.push(ITEMS)
    review_project.delete_pushed_pointers()
    assert review_project.push([*ITEMS, make_review_item(4)]).added == 1
    assert [len(tasks) for tasks in review_project.tasks().values()] == [1, 1, 1, 1]


def test_the_server_plays_the_audio_of_the_lake_to_logged_in_users_only(
    review_project: ReviewProject,
) -> None:
    review_project.push([make_review_item(1)])
    key = review_project.audio_folder.key_of(DAY, build_segment_id(1))
    with review_project.server.http as http:
        answer = http.get(f"/data/local-files/?d={key}")
    assert answer.status_code == 200
    assert answer.content[:4] == b"fLaC"
    assert answer.content == review_project.audio_folder.store.read(key)
    assert httpx.get(f"{review_project.server.current.url}/data/local-files/?d={key}").status_code != 200


def test_audio_of_a_lake_on_s3_is_played_from_a_signed_address(
    review_project: ReviewProject, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    lake = StoreSettings(url=f"s3://{BUCKET}/label/studio", endpoint_url=s3_endpoint, region="us-east-1")
    audio_folder = open_audio_folder(
        review_project.workspace.settings.model_copy(update={"lake": lake}), review_project.server.config.documents
    )
    on_s3 = replace(review_project, audio_folder=audio_folder)
    assert on_s3.push([make_review_item(1)]).added == 1
    [[task]] = on_s3.tasks().values()
    with on_s3.server.http as http:
        address = http.get(f"/api/tasks/{task}").json()["data"]["audio"]
        signed = http.get(address).headers["location"]
    assert httpx.get(signed).content == audio_folder.store.read(audio_folder.key_of(DAY, build_segment_id(1)))
    assert httpx.get(signed).content[:4] == b"fLaC"
    assert len(review_project.client.list_source_storages("s3", on_s3.project.id)) == 1


def test_a_task_shows_its_reasons_in_spanish_and_the_queue_keeps_its_codes(review_project: ReviewProject) -> None:
    item = make_review_item(1, reasons=("quiet: -47 dBFS", "conventions: digits"))
    review_project.push([item])
    [[task]] = review_project.tasks().values()
    with review_project.server.http as http:
        context = http.get(f"/api/tasks/{task}").json()["data"]["context"]
    assert context.endswith("se oye bajo (-47 dBFS), no cumple las convenciones: cifras en vez de letras")
    assert item.reasons == ("quiet: -47 dBFS", "conventions: digits")


def test_a_segment_without_audio_in_the_lake_is_left_out_and_named(review_project: ReviewProject) -> None:
    missing = make_review_item(9, day="2026-02-17")
    report = review_project.push([missing, make_review_item(1)])
    assert (report.added, report.without_audio) == (1, (missing.segment_id,))


def test_submitted_annotations_become_events_once_and_as_typed(review_project: ReviewProject) -> None:
    review_project.push([make_review_item(number) for number in (1, 2, 3, 4)])
    review_project.submit(
        1,
        build_text_result("  Loh niñoh, ¿eh?  "),
        build_choices_result("teacher", name="role"),
        build_text_result("voz baja", name="notes"),
    )
    review_project.submit(2, build_text_result("texto 2"))
    review_project.submit(3, build_text_result("texto 3"), build_choices_result("no_speech", "cut_off"))
    review_project.submit(4, was_cancelled=True)
    report = review_project.pull()
    assert (report.added, report.cancelled, report.skipped_inputs, report.days) == (3, 1, (), (DAY,))
    found = {event.segment_id: event for event in review_project.events()}
    by_number = {number: found[build_segment_id(number)] for number in (1, 2, 3)}
    assert [by_number[number].answer for number in (1, 2, 3)] == [
        ("  Loh niñoh, ¿eh?  ", "corrected", "", ""),
        ("texto 2", "confirmed", "", ""),
        ("texto 3", "unusable", "cut_off,no_speech", ""),
    ]
    one = by_number[1]
    assert (one.person, one.source, one.seen_text) == ("habla@localhost.local", "label_studio", "texto 1")
    assert (one.model_version, one.day) == ("v2", DAY)
    assert abs((one.created_at - datetime.now(UTC)).total_seconds()) < 60
    assert build_segment_id(4) not in found
    assert list_pulled_days(review_project.workspace.lake) == (DAY,)
    again = review_project.pull()
    assert (again.added, again.days, again.tasks) == (0, (), 0)
    assert (review_project.pull(overlap_s=0).tasks, len(review_project.events())) == (0, 3)


def test_an_edit_is_a_later_event_and_the_earlier_event_stays(review_project: ReviewProject) -> None:
    review_project.push([make_review_item(1)])
    annotation = review_project.submit(1, build_text_result("uno"))
    review_project.pull()
    with review_project.server.http as http:
        http.patch(f"/api/annotations/{annotation}", json={"result": [build_text_result("dos")]}).raise_for_status()
    assert review_project.pull().added == 1
    assert [event.text for event in review_project.events()] == ["uno", "dos"]
    with review_project.server.http as http:
        http.delete(f"/api/annotations/{annotation}").raise_for_status()
    assert review_project.pull().added == 0
    found = reconcile(review_project.workspace.lake, review_project.client, review_project.project)
    assert found.without_annotation == (build_segment_id(1),)
    assert [event.text for event in review_project.events()] == ["uno", "dos"]


def test_invalid_annotations_are_skipped_until_corrected_and_the_others_are_kept(
    review_project: ReviewProject,
) -> None:
    review_project.push([make_review_item(number) for number in (1, 2, 3)])
    broken = review_project.submit(1, {"from_name": "transcription", "type": "textarea", "value": {"text": [7]}})
    review_project.submit(2, build_text_result("x" * 10_001))
    review_project.submit(3, build_text_result("tres"))
    shown = {"audio": "x", "hint": "", "context": ""}
    foreign = [
        {"data": {**shown, "segment_id": "../../etc", "day": DAY}},
        {"data": {**shown, "segment_id": build_segment_id(99), "day": DAY}},
        {"data": shown},
    ]
    with review_project.server.http as http:
        made = http.post(f"/api/projects/{review_project.project.id}/import?return_task_ids=true", json=foreign).json()
        for task in made["task_ids"]:
            http.post(f"/api/tasks/{task}/annotations", json={"result": [build_text_result("mal")]}).raise_for_status()
    report = review_project.pull()
    assert [event.text for event in review_project.events()] == ["tres"]
    reasons = " | ".join(sorted(each.reason for each in report.skipped_inputs))
    assert len(report.skipped_inputs) == 5
    for word in ("value.text", "10000", "is not in the lake", "pattern", "Field required"):
        assert word in reasons
    assert len(review_project.pull().skipped_inputs) == 5
    assert len(load_pull_state(review_project.workspace.lake, review_project.project).skipped_inputs) == 5
    with review_project.server.http as http:
        http.patch(f"/api/annotations/{broken}", json={"result": [build_text_result("uno")]}).raise_for_status()
    assert review_project.pull(overlap_s=0).added == 1
    assert len(load_pull_state(review_project.workspace.lake, review_project.project).skipped_inputs) == 4


def test_a_deleted_task_is_pushed_again_and_a_duplicate_is_deleted(review_project: ReviewProject) -> None:
    review_project.push(ITEMS)
    review_project.submit(2, build_text_result("dos"))
    review_project.pull()
    tasks = review_project.tasks()
    review_project.client.delete_task(tasks[build_segment_id(1)][0])
    with review_project.server.http as http:
        data = {"audio": "x", "segment_id": build_segment_id(2), "hint": "", "context": "", "day": DAY}
        http.post(f"/api/projects/{review_project.project.id}/import", json=[{"data": data}]).raise_for_status()
    found = reconcile(review_project.workspace.lake, review_project.client, review_project.project)
    assert (found.tasks, found.without_task, found.duplicates_deleted) == (2, (build_segment_id(1),), 1)
    assert review_project.tasks()[build_segment_id(2)] == tasks[build_segment_id(2)]
    assert review_project.push(ITEMS).added == 1
    assert review_project.push(ITEMS).added == 0
    assert [event.text for event in review_project.events()] == ["dos"]


def test_a_server_killed_during_an_import_loses_and_duplicates_no_task(
    review_project: ReviewProject,
) -> None:
    copies = [make_review_item(1, segment_id=f"{number:08d}-0000-5000-8000-000000000000") for number in range(1_000)]
    project, lake = review_project.project, review_project.workspace.lake

    def import_all() -> None:
        state = pushing.load_push_state(lake, project)
        for start in range(0, len(copies), 250):
            batch = copies[start : start + 250]
            state = pushing._import_batch(
                lake, review_project.client, project, state, batch, review_project.audio_folder
            )

    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(import_all)
        while not pushing.load_push_state(lake, project).attempts:
            time.sleep(0.01)
        time.sleep(0.25)
        assert not importing.done()
        review_project.server.kill()
        review_project.server.start()
        importing.result(timeout=120)
    found = review_project.tasks()
    assert len(found) == 1_000
    assert {len(each) for each in found.values()} == {1}


def test_a_client_waits_for_a_restarting_server_and_then_gives_the_next_step(
    review_project: ReviewProject,
) -> None:
    review_project.push([make_review_item(1)])
    review_project.submit(1, build_text_result("uno"))
    project = review_project.project
    review_project.server.kill()
    impatient = LabelStudio(review_project.server.config.url, "x", patience_s=0.5)
    with impatient, pytest.raises(ServiceError, match="start the server"):
        impatient.list_users()
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(review_project.client.list_users)
        review_project.server.start()
        assert listing.result(timeout=60)
    assert project == review_project.project
    assert review_project.pull().added == 1


def test_a_push_and_a_pull_work_behind_a_redirect_to_https_with_an_own_authority(
    review_project: ReviewProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = CertificateAuthority.create(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    def forward(sent: SentRequest) -> Reply:
        headers = {"Content-Type": "application/json", "Authorization": sent.token or ""}
        url = f"{review_project.server.config.url}{sent.path}"
        passed = httpx.request(sent.method, url, content=sent.body, headers=headers, timeout=60)
        return Reply(passed.status_code, passed.content)

    with run_web_server(forward, authority.issue("127.0.0.1", "127.0.0.1")) as secure:
        origin = f"https://127.0.0.1:{secure.port}"
        with (
            run_web_server(lambda sent: Reply(301, headers={"Location": origin + sent.path})) as plain,
            LabelStudio(f"http://127.0.0.1:{plain.port}", review_project.server.current.login.token) as client,
        ):
            behind = replace(review_project, client=client)
            assert behind.push(ITEMS).added == 3
            behind.submit(1, build_text_result("uno"))
            assert behind.pull().added == 1
            behind.client.delete_task(behind.tasks()[build_segment_id(2)][0])
            assert build_segment_id(2) not in behind.tasks()
    assert {each.token for each in plain.received} == {None}


def test_a_personal_access_token_is_exchanged_again_when_it_expires(review_project: ReviewProject) -> None:
    review_project.push([make_review_item(1)])
    with review_project.server.http as http:
        personal = http.post("/api/token/", json={}).json()["token"]
    with LabelStudio(review_project.server.config.url, personal) as client:
        assert client.list_users()
        client._access = client._access[:-4] + "xxxx"
        assert client.find_projects(review_project.title)
        assert not client._access.endswith("xxxx")
    revoked = LabelStudio(review_project.server.config.url, personal[:-4] + "xxxx")
    with revoked, pytest.raises(ServiceError, match="make a new one"):
        revoked.list_users()
    unknown = LabelStudio(review_project.server.config.url, "0" * 40)
    with unknown, pytest.raises(ServiceError, match="refuses the token") as refused:
        unknown.list_users()
    assert "0" * 40 not in str(refused.value)


def test_only_the_owner_can_read_the_token_and_no_log_has_it(review_project: ReviewProject) -> None:
    config, login = review_project.server.config, review_project.server.current.login
    assert stat.S_IMODE((config.folder / "login.json").stat().st_mode) == 0o600
    log = config.log.read_text("utf-8", errors="replace")
    assert login.token not in log
    assert login.password not in log


def test_a_correction_in_a_browser_reaches_the_corpus(review_project: ReviewProject, page: Page) -> None:
    review_project.push([make_review_item(1, hint="loh niñoh están paoraos"), make_review_item(2)])
    login, hosts = review_project.server.current.login, set[str | None]()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.goto(f"{review_project.server.current.url}/user/login/")
    page.fill("input[name=email]", login.username)
    page.fill("input[name=password]", login.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "login" not in url, wait_until="commit")
    page.goto(f"{review_project.project.page}?labeling=1", wait_until="domcontentloaded")
    text = page.locator("textarea[name=transcription]")
    expect(text).to_have_value("loh niñoh están paoraos", timeout=60_000)
    text.fill("Los niños están parados.")
    page.get_by_role("button", name="Submit current annotation").click()
    expect(text).to_have_value("texto 2", timeout=60_000)
    with page.expect_response(lambda answer: answer.request.method == "POST" and "annotations" in answer.url):
        page.get_by_role("button", name="Submit current annotation").click()
    assert hosts <= {"127.0.0.1", None}, "the page loads nothing from other hosts"
    assert review_project.pull().added == 2
    found = {event.segment_id: event for event in review_project.events()}
    assert found[build_segment_id(1)].answer == ("Los niños están parados.", "corrected", "", "")
    assert found[build_segment_id(2)].answer == ("texto 2", "confirmed", "", "")
    assert found[build_segment_id(1)].person == login.username
    built = build_day(
        review_project.workspace.lake, DAY, review_project.workspace.conventions, review_project.workspace.settings
    )
    rows = read_parquet(review_project.workspace.lake.fetch_path(built.parquet)).to_pylist()
    sentences = {row["segment_id"]: row["sentence"] for row in rows}
    assert sentences[build_segment_id(1)] == "Los niños están parados."


def test_an_erasure_deletes_tasks_with_and_without_annotations_and_their_audio(
    review_project: ReviewProject,
) -> None:
    review_project.push(ITEMS)
    review_project.submit(1, build_text_result("Uno 1."))
    review_project.push([make_review_item(1, request=ReviewRequest(1, ("digits",), "c", "t"))])
    assert (
        delete_tasks(
            review_project.workspace.settings, review_project.client, [build_segment_id(1), build_segment_id(2)]
        )
        == 3
    )
    assert list(review_project.tasks()) == [build_segment_id(3)]
    audio = {entry.key for entry in review_project.audio_folder.store.list(f"{AUDIO_FOLDER_NAME}/")}
    assert [review_project.audio_folder.key_of(DAY, build_segment_id(number)) in audio for number in (1, 2, 3)] == [
        False,
        False,
        True,
    ]
    assert (
        delete_tasks(
            review_project.workspace.settings, review_project.client, [build_segment_id(1), build_segment_id(2)]
        )
        == 0
    )
