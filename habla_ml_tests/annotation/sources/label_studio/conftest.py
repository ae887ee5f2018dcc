"""One real Label Studio server for the whole session, and a lake with a day of recordings for each test."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, sync_playwright

from habla_ml.annotation.event_log import load_events, read_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.annotation.review_queue import ReviewItem
from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.annotation.sources.label_studio.project import AudioFolder, Project, open_audio_folder, open_project
from habla_ml.annotation.sources.label_studio.pull import PullReport, pull_events
from habla_ml.annotation.sources.label_studio.push import PushReport, push_segments
from habla_ml.annotation.sources.label_studio.server import (
    RunningServer,
    ServerConfig,
    install_server,
    resolve_server_config,
    run_server,
)
from habla_ml.recordings.ingest import ingest_day
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml_tests.testing.habla_sessions import NOW, HablaWorkspace, make_workspace, write_session
from habla_ml_tests.testing.s3_clients import CREDENTIALS

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DAY, SESSION = "2026-02-16", "11111_20260216_090000"


@dataclass
class LabelStudioServer:
    """A server that tests can kill and restart."""

    config: ServerConfig
    stack: ExitStack = field(default_factory=ExitStack)
    running: RunningServer | None = None

    @property
    def current(self) -> RunningServer:
        assert self.running is not None
        return self.running

    def start(self) -> None:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in CREDENTIALS.items():
                environment.setenv(name, value)
            self.running = self.stack.enter_context(run_server(self.config))

    def kill(self) -> None:
        self.current.process.kill()
        self.current.process.wait()
        self.stack.close()

    @property
    def http(self) -> httpx.Client:
        """A client with the rights of a logged-in user."""
        headers = {"Authorization": f"Token {self.current.login.token}"}
        return httpx.Client(base_url=self.current.url, headers=headers, timeout=60)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, s3_endpoint: str) -> Iterator[LabelStudioServer]:
    root = tmp_path_factory.mktemp("label_studio")
    port = find_free_port()
    workspace = make_workspace(root, lake={"endpoint_url": s3_endpoint}, annotation={"label_studio": {"port": port}})
    config = resolve_server_config(workspace.settings)
    install_server(config.environment, print)
    started = LabelStudioServer(config)
    started.start()
    with started.stack:
        yield started
        started.stack.close()


@dataclass(frozen=True)
class ReviewProject:
    """A lake with a day of recordings, and its own project on the server."""

    workspace: HablaWorkspace
    server: LabelStudioServer
    client: LabelStudio
    audio_folder: AudioFolder
    title: str

    @property
    def project(self) -> Project:
        return open_project(self.client, self.title, self.audio_folder)

    def push(self, items: list[ReviewItem], batch_size: int = 500) -> PushReport:
        return push_segments(
            items, self.workspace.lake, self.client, self.project, self.audio_folder, batch_size, lambda _: None
        )

    def pull(self, **options: Any) -> PullReport:
        chosen = self.workspace.settings.annotation.label_studio.model_copy(update=options)
        return pull_events(self.workspace.lake, self.client, self.project, chosen, datetime.now(UTC))

    def events(self) -> list[AnnotationEvent]:
        day = load_events(self.workspace.lake, DAY)
        return [] if day is None else read_events(self.workspace.lake, day)

    def tasks(self) -> dict[str, list[int]]:
        """Segment → its tasks on the server."""
        found: dict[str, list[int]] = {}
        for task in self.client.list_tasks(self.project.id):
            found.setdefault(task.data.get("segment_id", ""), []).append(task.id)
        return found

    def delete_pushed_pointers(self) -> None:
        for path in (self.workspace.root / "lake" / "pointers" / "label_studio").rglob("pushed.json"):
            path.unlink()

    def submit(self, number: int, *result: dict[str, Any], **more: Any) -> int:
        """Answer the newest task of segment `number` as the page does; returns the annotation's id."""
        task = self.tasks()[build_segment_id(number)][-1]
        with self.server.http as http:
            answer = http.post(f"/api/tasks/{task}/annotations", json={"result": list(result), **more})
            answer.raise_for_status()
            made: int = answer.json()["id"]
        return made


@pytest.fixture
def review_project(
    server: LabelStudioServer, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[ReviewProject]:
    title = request.node.name[:50]
    options = {"port": server.config.port, "folder": str(server.config.folder), "title": title, "page_size": 2}
    workspace = make_workspace(tmp_path, annotation={"label_studio": options})
    write_session(workspace.recordings, SESSION, 5)
    ingest_day(workspace.recordings, DAY, workspace.lake, workspace.settings, NOW)
    audio_folder = open_audio_folder(workspace.settings, server.config.documents)
    with LabelStudio(server.config.url, server.current.login.token, patience_s=30) as client:
        yield ReviewProject(workspace, server, client, audio_folder, title)


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in a real browser."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium: apt-get install -y --no-install-recommends chromium, then run again")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=flags)
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


def build_segment_id(number: int) -> str:
    return segment_id(HABLA_SOURCE, SESSION, f"segment_{number:03d}.wav")


def make_review_item(number: int, **changes: Any) -> ReviewItem:
    values: dict[str, Any] = {
        "segment_id": build_segment_id(number),
        "session_id": SESSION,
        "day": DAY,
        "speaker": "Speaker A",
        "duration_s": 0.4,
        "hint": f"texto {number}",
        "model_version": "v2",
        "score": 1.0,
        "reasons": ("habla bajito",),
        "is_random": False,
    }
    return ReviewItem(**{**values, **changes})


def build_text_result(text: str, name: str = "transcription") -> dict[str, Any]:
    return {"from_name": name, "to_name": "audio", "type": "textarea", "value": {"text": [text]}}


def build_choices_result(*choices: str, name: str = "unusable") -> dict[str, Any]:
    return {"from_name": name, "to_name": "audio", "type": "choices", "value": {"choices": list(choices)}}


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
