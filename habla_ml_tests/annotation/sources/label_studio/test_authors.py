"""The person of an annotation, in every form that Label Studio's versions give."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from habla_ml.annotation.event_log import load_events, read_events
from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.annotation.sources.label_studio.project import Project
from habla_ml.annotation.sources.label_studio.pull import pull_events
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml_tests.testing.habla_sessions import DAY, A, ingest_into, make_workspace, set_age, write_session
from habla_ml_tests.testing.tls_servers import Reply, SentRequest, run_web_server

NOW = datetime(2026, 11, 20, tzinfo=UTC)
USERS = [{"id": 7, "email": "ana@example.org"}, {"id": 8, "email": None}]


def build_task(author: dict[str, Any]) -> dict[str, Any]:
    result = [{"from_name": "transcription", "value": {"text": ["hola"]}}]
    annotation = {"id": 1, "result": result, "was_cancelled": False, "updated_at": "2026-11-19T10:00:00Z", **author}
    data = {"segment_id": segment_id(HABLA_SOURCE, A, "segment_001.wav"), "day": DAY}
    return {"id": 1, "updated_at": "2026-11-19T10:00:00Z", "data": data, "annotations": [annotation]}


@pytest.mark.parametrize(
    ("author", "person"),
    [
        ({"completed_by": 7}, "ana@example.org"),
        ({"completed_by": {"id": 7, "email": "old@example.org", "first_name": "Ana"}}, "ana@example.org"),
        ({"completed_by": {"id": 9, "email": "gone@example.org"}}, "gone@example.org"),
        ({"completed_by": {"id": 9, "email": None}}, "9"),
        ({"completed_by": {"id": 8}, "updated_by": {"user_id": 7}}, "ana@example.org"),
        ({"completed_by": None}, ""),
        ({}, ""),
    ],
)
def test_the_author_is_an_id_or_an_object(tmp_path: Path, author: dict[str, Any], person: str) -> None:
    workspace = make_workspace(tmp_path)
    set_age(write_session(workspace.recordings, A, 1), 24)
    ingest_into(workspace)

    def answer(sent: SentRequest) -> Reply:
        body = USERS if sent.path == "/api/users" else {"tasks": [build_task(author)]}
        return Reply(body=json.dumps(body).encode())

    with run_web_server(answer) as plain, LabelStudio(f"http://127.0.0.1:{plain.port}", "secret") as server:
        chosen = workspace.settings.annotation.label_studio
        report = pull_events(workspace.lake, server, Project(1, server.url, "t", "key"), chosen, NOW)
    assert report.skipped_inputs == ()
    log = load_events(workspace.lake, DAY)
    assert log is not None
    assert [(each.text, each.person) for each in read_events(workspace.lake, log)] == [("hola", person)]


def test_texts_of_regions_are_joined_in_the_order_of_time(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    set_age(write_session(workspace.recordings, A, 1), 24)
    ingest_into(workspace)
    task = build_task({"completed_by": 7})
    spoken = [(1.5, "¿qué tal?"), (0.25, "hola"), (0.25, "Ana")]
    task["annotations"][0]["result"] = [
        {"from_name": "transcription", "value": {"start": start_s, "end": start_s + 1.0, "text": [text]}}
        for start_s, text in spoken
    ]

    def answer(sent: SentRequest) -> Reply:
        return Reply(body=json.dumps(USERS if sent.path == "/api/users" else {"tasks": [task]}).encode())

    with run_web_server(answer) as plain, LabelStudio(f"http://127.0.0.1:{plain.port}", "secret") as server:
        chosen = workspace.settings.annotation.label_studio
        pull_events(workspace.lake, server, Project(1, server.url, "t", "key"), chosen, NOW)
    log = load_events(workspace.lake, DAY)
    assert log is not None
    assert [each.text for each in read_events(workspace.lake, log)] == ["hola Ana ¿qué tal?"]


@pytest.mark.parametrize("author", [{"completed_by": "ana"}, {"completed_by": {"name": "ana"}}, {"completed_by": True}])
def test_an_author_of_another_shape_skips_that_annotation_only(tmp_path: Path, author: dict[str, Any]) -> None:
    workspace = make_workspace(tmp_path)
    set_age(write_session(workspace.recordings, A, 1), 24)
    ingest_into(workspace)
    task = build_task(author)
    task["annotations"] += build_task({"completed_by": 7})["annotations"]

    def answer(sent: SentRequest) -> Reply:
        return Reply(body=json.dumps(USERS if sent.path == "/api/users" else {"tasks": [task]}).encode())

    with run_web_server(answer) as plain, LabelStudio(f"http://127.0.0.1:{plain.port}", "secret") as server:
        chosen = workspace.settings.annotation.label_studio
        report = pull_events(workspace.lake, server, Project(1, server.url, "t", "key"), chosen, NOW)
    assert (report.added, len(report.skipped_inputs)) == (1, 1)
    assert report.skipped_inputs[0].reason.startswith("completed_by")
