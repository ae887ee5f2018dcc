"""A pull reads the last minutes again, but appends only what it has not appended before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.annotation.event_log import load_events, read_events
from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.annotation.sources.label_studio.project import find_project
from habla_ml.annotation.sources.label_studio.pull import PullReport, load_pull_state, pull_events
from habla_ml.consent.tombstones import add_tombstones
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml_tests.testing.habla_sessions import (
    DAY,
    NOW,
    A,
    B,
    HablaWorkspace,
    ingest_into,
    make_workspace,
    write_session,
)
from habla_ml_tests.testing.label_studio_api import LOGIN, TITLE, LabelStudioApi, serve_label_studio

FIRST, SECOND, THIRD = (segment_id(HABLA_SOURCE, A, f"segment_{number:03d}.wav") for number in (1, 2, 3))


@dataclass(frozen=True)
class AnnotatedProject:
    """A recorded day, and a server with annotations of it."""

    workspace: HablaWorkspace
    api: LabelStudioApi

    def pull(self, now: datetime = NOW) -> PullReport:
        with LabelStudio(self.api.url, LOGIN, patience_s=0) as server:
            project = find_project(server, TITLE)
            assert project is not None
            chosen = self.workspace.settings.annotation.label_studio
            return pull_events(self.workspace.lake, server, project, chosen, now)

    def texts(self) -> list[str]:
        log = load_events(self.workspace.lake, DAY)
        return [] if log is None else [each.text for each in read_events(self.workspace.lake, log)]

    @property
    def log_file(self) -> Path:
        return self.workspace.root / f"lake/pointers/annotations/{DAY}.json"

    def damage_log(self) -> bytes:
        """Make the log of the day unreadable; return its bytes."""
        data = self.log_file.read_bytes()
        self.log_file.chmod(0o644)
        self.log_file.write_bytes(b"{")
        return data


@pytest.fixture
def project(tmp_path: Path) -> Iterator[AnnotatedProject]:
    workspace = make_workspace(tmp_path)
    write_session(workspace.recordings, A, 3)
    ingest_into(workspace)
    with serve_label_studio() as api:
        api.annotate(FIRST, DAY, "uno")
        api.annotate(SECOND, DAY, "dos", after_s=60)
        yield AnnotatedProject(workspace, api)


def test_a_pull_without_news_opens_no_log_and_asks_for_no_user(project: AnnotatedProject) -> None:
    assert (project.pull().added, project.texts()) == (2, ["uno", "dos"] if FIRST < SECOND else ["dos", "uno"])
    project.damage_log()
    project.api.requests.clear()
    assert project.pull() == PullReport(0, 0, (), 0, ())
    assert project.api.requests["/api/tasks"] == 1
    assert "/api/users" not in project.api.requests


def test_a_change_that_the_server_shows_late_is_appended(project: AnnotatedProject) -> None:
    project.pull()
    project.api.annotate(THIRD, DAY, "tres", after_s=30)  # older than the newest change that was read
    late = project.api.tasks[0]["annotations"][0]
    project.api.tasks[0]["annotations"].append(
        {**late, "id": 9, "result": [{**late["result"][0], "value": {"text": ["otro"]}}]}
    )
    report = project.pull()
    assert (report.tasks, report.added) == (2, 2)
    assert sorted(project.texts()) == ["dos", "otro", "tres", "uno"]
    assert project.pull().tasks == 0


def test_a_task_whose_day_could_not_be_written_is_read_again(project: AnnotatedProject) -> None:
    project.pull()
    project.api.annotate(THIRD, DAY, "tres", after_s=90)
    data = project.damage_log()
    assert [each.subject for each in project.pull().errors] == [DAY]
    project.log_file.write_bytes(data)
    assert project.pull().added == 1
    assert sorted(project.texts()) == ["dos", "tres", "uno"]


def test_an_invalid_task_is_reported_by_each_pull(project: AnnotatedProject) -> None:
    project.api.annotate("00000000-0000-0000-0000-000000000000", DAY, "de nadie")
    assert [len(project.pull().skipped_inputs) for _ in range(2)] == [1, 1]


def test_the_state_remembers_only_the_tasks_in_the_overlap(project: AnnotatedProject) -> None:
    project.api.annotate(THIRD, DAY, "tres", after_s=3600)
    project.pull()
    with LabelStudio(project.api.url, LOGIN, patience_s=0) as server:
        found = find_project(server, TITLE)
    assert found is not None
    assert list(load_pull_state(project.workspace.lake, found).recent) == ["3"]


def test_an_annotation_of_a_segment_that_a_restored_lake_lacks_is_read_once_it_is_back(
    project: AnnotatedProject,
) -> None:
    project.api.annotate(segment_id(HABLA_SOURCE, B, "segment_001.wav"), DAY, "perdido", after_s=70)
    project.api.annotate(THIRD, DAY, "tres", after_s=3600)
    assert len(project.pull().skipped_inputs) == 1
    assert project.pull(NOW + timedelta(hours=47)).added == 0
    write_session(project.workspace.recordings, B, 1)
    ingest_into(project.workspace)
    report = project.pull(NOW + timedelta(hours=47))
    assert (report.tasks, report.added, report.skipped_inputs) == (1, 1, ())
    assert sorted(project.texts()) == ["dos", "perdido", "tres", "uno"]
    assert project.pull(NOW + timedelta(hours=47)).tasks == 0


@pytest.mark.parametrize("is_erased", [False, True])
def test_a_segment_that_does_not_come_back_does_not_hold_the_pull(project: AnnotatedProject, is_erased: bool) -> None:
    lost = "00000000-0000-0000-0000-000000000000"
    project.api.annotate(lost, DAY, "de nadie", after_s=70)
    project.api.annotate(THIRD, DAY, "tres", after_s=3600)
    if is_erased:
        add_tombstones(project.workspace.lake, {lost}, ())
    for later in (timedelta(), timedelta(days=2)):
        report = project.pull(NOW + later)
    assert len(report.skipped_inputs) == (0 if is_erased else 1)
    assert project.pull(NOW + timedelta(days=2)).tasks == 0
