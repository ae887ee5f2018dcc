"""Review requests for annotated segments, with a real Label Studio."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from habla_ml.annotation.review_queue import ReviewItem, ReviewRequest
from habla_ml.annotation.sources.label_studio.reconcile import reconcile
from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.lake import DirectoryStore
from habla_ml.review.queue import find_segments_to_send_back, make_queue
from habla_ml_tests.annotation.sources.label_studio.conftest import (
    DAY,
    ReviewProject,
    build_segment_id,
    build_text_result,
    make_review_item,
)
from habla_ml_tests.testing.habla_sessions import V1

pytestmark = pytest.mark.slow


def find_review_requests(review_project: ReviewProject) -> list[ReviewItem]:
    """Return the review requests of a new queue."""
    lake, settings = review_project.workspace.lake, review_project.workspace.settings
    build_day(lake, DAY, load_conventions(V1.with_name("orthographic-v3.yaml")), settings)
    store = DirectoryStore(review_project.workspace.root / "cdn")
    made = make_queue(lake, store, settings, datetime.now(UTC), print, find_segments_to_send_back(lake))
    return [each for each in made.queue.items if each.is_sent_back]


def test_a_review_request_is_a_new_task_with_its_reason(
    review_project: ReviewProject,
) -> None:
    review_project.push([make_review_item(1, hint="son las 3"), make_review_item(2)])
    review_project.submit(1, build_text_result("son las 3"))
    assert review_project.pull().added == 1
    [back] = find_review_requests(review_project)
    assert (back.segment_id, back.attempt, back.hint) == (build_segment_id(1), 1, "son las 3")
    assert [review_project.push([back]).added for _ in range(2)] == [1, 0]
    review_project.delete_pushed_pointers()
    assert review_project.push([back]).added == 0
    first, second = review_project.tasks()[build_segment_id(1)]
    with review_project.server.http as http:
        data = http.get(f"/api/tasks/{second}").json()["data"]
    assert (data["round"], data["hint"], "(cifras en vez de letras)" in data["why"]) == (1, "son las 3", True)
    assert (
        reconcile(review_project.workspace.lake, review_project.client, review_project.project).duplicates_deleted == 0
    )
    review_project.submit(1, build_text_result("son las 3"))
    assert review_project.pull().added == 1
    assert [(each.answer[:2], each.attempt) for each in review_project.events()] == [
        (("son las 3", "confirmed"), 0),
        (("son las 3", "confirmed"), 1),
    ]
    assert find_review_requests(review_project) == []
    review_project.client.delete_task(second)
    assert reconcile(review_project.workspace.lake, review_project.client, review_project.project).without_task == (
        build_segment_id(1),
    )
    assert review_project.push([back]).added == 1
    assert review_project.tasks()[build_segment_id(1)][0] == first


def test_a_review_request_replaces_an_unanswered_first_task(
    review_project: ReviewProject,
) -> None:
    wrong = ReviewRequest(1, ("digits",), "c", "t")
    review_project.push([make_review_item(1), make_review_item(2)])
    review_project.push([make_review_item(1, hint="son las 3", request=wrong)])
    _, newer = review_project.tasks()[build_segment_id(1)]
    assert (
        reconcile(review_project.workspace.lake, review_project.client, review_project.project).duplicates_deleted == 1
    )
    assert review_project.tasks()[build_segment_id(1)] == [newer]
    assert review_project.push([make_review_item(1), make_review_item(1, request=wrong)]).added == 0


def test_the_page_shows_the_broken_rules_and_the_reasons_in_spanish(review_project: ReviewProject, page: Page) -> None:
    review_project.push(
        [
            make_review_item(1, hint="son las 3", request=ReviewRequest(1, ("digits",), "c", "t")),
            make_review_item(2, reasons=("quiet: -47 dBFS", "random: drawn by chance")),
        ]
    )
    login = review_project.server.current.login
    page.goto(f"{review_project.server.current.url}/user/login/")
    page.fill("input[name=email]", login.username)
    page.fill("input[name=password]", login.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "login" not in url, wait_until="commit")
    page.goto(f"{review_project.project.page}?labeling=1", wait_until="domcontentloaded")
    text = page.locator("textarea[name=transcription]")
    expect(text).to_have_value("son las 3", timeout=60_000)
    expect(page.get_by_text("no cumple las convenciones (cifras en vez de letras)")).to_be_visible()
    page.get_by_role("button", name="Submit current annotation").click()
    expect(text).to_have_value("texto 2", timeout=60_000)
    expect(page.get_by_text("no cumple las convenciones")).to_have_count(0)
    expect(page.get_by_text("se oye bajo (-47 dBFS), elegido al azar")).to_be_visible()
