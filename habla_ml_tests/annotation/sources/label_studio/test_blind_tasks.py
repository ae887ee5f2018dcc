"""Blind segments, and segments for two people, with a real Label Studio and two logins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import pytest

from habla_ml.annotation.review_queue import save_queue
from habla_ml.annotation.sources.label_studio.push import load_push_state
from habla_ml.annotation.sources.label_studio.reconcile import reconcile
from habla_ml.corpus.agreement import measure_agreement
from habla_ml.corpus.build import build_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.evaluation.scoring.normalisation import normalise_spanish_pair
from habla_ml.lake.table import read_table
from habla_ml_tests.annotation.sources.label_studio.conftest import (
    DAY,
    ReviewProject,
    build_segment_id,
    build_text_result,
    make_review_item,
)
from habla_ml_tests.testing.habla_sessions import V1

pytestmark = pytest.mark.slow
FOR_ONE = make_review_item(1, hint="", model_version="", is_random=True, blind_people=1)
FOR_TWO = make_review_item(2, hint="", model_version="", is_random=True, blind_people=2)
SHOWN = make_review_item(3)
SECOND_LOGIN = {"email": "eva@example.org", "password": "una-clave-larga"}


@contextmanager
def log_in_as_second_person(review_project: ReviewProject) -> Iterator[httpx.Client]:
    """Yield a client of a second person, who signs up by the invitation link of the first."""
    with review_project.server.http as owner:
        invitation = owner.get("/api/invite").json()["invite_url"]
    with httpx.Client(base_url=review_project.server.current.url, timeout=60, follow_redirects=True) as person:
        for page in (f"/user/signup/?{urlsplit(invitation).query}", "/user/login/"):
            person.get(page)
            form = {**SECOND_LOGIN, "csrfmiddlewaretoken": person.cookies["csrftoken"]}
            person.post(page, data=form, headers={"Referer": review_project.server.current.url})
        person.headers.update(
            {"X-CSRFToken": person.cookies["csrftoken"], "Referer": review_project.server.current.url}
        )
        assert person.get("/api/current-user/whoami").json()["email"] == SECOND_LOGIN["email"]
        yield person


def take_next(person: httpx.Client, project: int) -> dict[str, object]:
    """Return the task that the button "Label All Tasks" gives the person, or {} at the end."""
    answer = person.get(f"/api/projects/{project}/next")
    return dict(answer.json()) if answer.is_success else {}


def submit(person: httpx.Client, task: object, text: str) -> None:
    person.post(f"/api/tasks/{task}/annotations", json={"result": [build_text_result(text)]}).raise_for_status()


def test_two_people_transcribe_one_task_without_seeing_a_text(review_project: ReviewProject) -> None:
    lake = review_project.workspace.lake
    save_queue(lake, [FOR_TWO, FOR_ONE, SHOWN], datetime.now(UTC))
    assert [review_project.push([FOR_TWO, FOR_ONE, SHOWN]).added for _ in range(2)] == [3, 0]
    tasks = {segment: numbers[0] for segment, numbers in review_project.tasks().items()}
    two, one = (tasks[build_segment_id(number)] for number in (2, 1))
    project = review_project.project.id
    with review_project.server.http as first, log_in_as_second_person(review_project) as second:
        data = first.get(f"/api/tasks/{two}").json()["data"]
        assert (data["hint"], data["model_version"]) == ("", "")
        assert "sin" not in data["hint"]
        assert "no trae texto" in data["why"]
        assert "Otra persona" in data["why"]
        assert take_next(first, project)["id"] == two
        submit(first, two, "lo que oye ana")
        assert take_next(first, project)["id"] == one  # nobody gets a task twice
        given = take_next(second, project)
        assert (given["id"], given["annotations"], given["predictions"]) == (two, [], [])
        assert review_project.pull().added == 1  # the first answer does not wait for the second
        submit(second, two, "lo que oye eva")
        submit(second, one, "uno")
        assert first.get(f"/api/tasks/{two}").json()["is_labeled"]
        assert take_next(second, project)["id"] == tasks[build_segment_id(3)]
        submit(second, tasks[build_segment_id(3)], "texto 3")
    assert review_project.pull().added == 3
    events = {(each.segment_id, each.person): each for each in review_project.events()}
    assert {each.is_blind for (segment, _), each in events.items() if segment != build_segment_id(3)} == {True}
    assert events[build_segment_id(3), SECOND_LOGIN["email"]].is_blind is False
    assert len(events) == 4
    conventions = load_conventions(V1)
    floor = measure_agreement(lake, conventions, normalise_spanish_pair, only_blind=True)
    assert (floor.segments, floor.wer.errors, floor.wer.length) == (1, 1, 4)
    day = build_day(lake, DAY, conventions, review_project.workspace.settings)
    rows = {row["segment_id"]: (row["text"], row["is_blind"]) for row in read_table(lake, day.parquet).to_pylist()}
    assert rows[build_segment_id(2)] == ("lo que oye ana", True)  # the second text does not replace the first
    assert rows[build_segment_id(3)] == ("texto 3", False)


def test_only_the_queue_and_an_empty_task_make_an_answer_blind(review_project: ReviewProject) -> None:
    save_queue(review_project.workspace.lake, [FOR_ONE], datetime.now(UTC))
    not_issued = make_review_item(4, hint="", model_version="")
    review_project.push([FOR_ONE, not_issued])
    task = review_project.tasks()[build_segment_id(1)][0]
    with review_project.server.http as http:
        data = {**http.get(f"/api/tasks/{task}").json()["data"], "hint": "texto de la máquina"}
        http.patch(f"/api/tasks/{task}", json={"data": data}).raise_for_status()
    for number in (1, 4):
        review_project.submit(number, build_text_result("hola"))
    review_project.pull()
    assert [each.is_blind for each in review_project.events()] == [False, False]


def test_a_push_that_stopped_before_the_second_person_is_completed(review_project: ReviewProject) -> None:
    lake, project = review_project.workspace.lake, review_project.project
    single = make_review_item(2, hint="", model_version="", is_random=True, blind_people=1)
    review_project.push([single, SHOWN])  # as if the push had stopped after the import
    task = review_project.tasks()[build_segment_id(2)][0]
    assert load_push_state(lake, project).shared == {}
    assert review_project.push([FOR_TWO, SHOWN]).added == 0
    assert load_push_state(lake, project).shared == {build_segment_id(2): task}
    with review_project.server.http as http:
        assert http.get(f"/api/tasks/{task}").json()["overlap"] == 2
    review_project.client.delete_task(task)
    reconcile(lake, review_project.client, project)
    assert load_push_state(lake, project).shared == {}
    assert review_project.push([FOR_TWO]).added == 1
    assert set(load_push_state(lake, project).shared) == {build_segment_id(2)}
