"""A segment that is sent back after it was answered, against a real Label Studio."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from habla_ml.annotation.label_studio import reconcile
from habla_ml.annotation.review import Objection, ReviewItem
from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.lake import DirectoryStore
from habla_ml.review.queue import make_queue, violations_sent_back
from habla_ml_tests.annotation.label_studio.conftest import DAY, Room, item, segment, typed
from habla_ml_tests.recordings.world import V1

pytestmark = pytest.mark.slow


def sent_back(room: Room) -> list[ReviewItem]:
    """What a queue that is made now asks for again."""
    lake, settings = room.world.lake, room.world.settings
    build_day(lake, DAY, load_conventions(V1.with_name("orthographic-v3.yaml")), settings)
    store = DirectoryStore(room.world.root / "cdn")
    made = make_queue(lake, store, settings, datetime.now(UTC), print, violations_sent_back(lake))
    return [each for each in made.queue.items if each.is_sent_back]


def test_a_text_sent_back_after_it_was_answered_is_a_task_of_its_own_that_says_why(room: Room) -> None:
    room.push([item(1, hint="son las 3"), item(2)])
    room.submit(1, typed("son las 3"))
    assert room.pull().added == 1
    [back] = sent_back(room)
    assert (back.segment_id, back.round, back.hint) == (segment(1), 1, "son las 3")
    assert [room.push([back]).added for _ in range(2)] == [1, 0]
    room.forget_what_was_pushed()
    assert room.push([back]).added == 0
    first, second = room.tasks()[segment(1)]
    with room.server.http as http:
        data = http.get(f"/api/tasks/{second}").json()["data"]
    assert (data["round"], data["hint"], "(digits)" in data["why"]) == (1, "son las 3", True)
    assert reconcile(room.world.lake, room.client, room.project).doubled == 0
    room.submit(1, typed("son las 3"))
    assert room.pull().added == 1
    assert [(each.said[:2], each.round) for each in room.events()] == [
        (("son las 3", "confirmed"), 0),
        (("son las 3", "confirmed"), 1),
    ]
    assert sent_back(room) == []
    room.client.delete_task(second)
    assert reconcile(room.world.lake, room.client, room.project).gone == (segment(1),)
    assert room.push([back]).added == 1
    assert room.tasks()[segment(1)][0] == first


def test_a_first_look_that_nobody_took_yields_to_the_task_that_was_sent_back(room: Room) -> None:
    wrong = Objection(1, ("digits",), "c", "t")
    room.push([item(1), item(2)])
    room.push([item(1, hint="son las 3", objection=wrong)])
    _, newer = room.tasks()[segment(1)]
    assert reconcile(room.world.lake, room.client, room.project).doubled == 1
    assert room.tasks()[segment(1)] == [newer]
    assert room.push([item(1), item(1, objection=wrong)]).added == 0


def test_the_page_says_why_a_segment_is_there_again(room: Room, page: Page) -> None:
    room.push([item(1, hint="son las 3", objection=Objection(1, ("digits",), "c", "t")), item(2)])
    login = room.server.now.login
    page.goto(f"{room.server.now.url}/user/login/")
    page.fill("input[name=email]", login.username)
    page.fill("input[name=password]", login.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "login" not in url, wait_until="commit")
    page.goto(f"{room.project.page}?labeling=1", wait_until="domcontentloaded")
    text = page.locator("textarea[name=transcription]")
    expect(text).to_have_value("son las 3", timeout=60_000)
    expect(page.get_by_text("no cumple las convenciones (digits)")).to_be_visible()
    page.get_by_role("button", name="Submit current annotation").click()
    expect(text).to_have_value("texto 2", timeout=60_000)
    expect(page.get_by_text("no cumple las convenciones")).to_have_count(0)
