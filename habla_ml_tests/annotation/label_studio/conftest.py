"""One real Label Studio for all tests of the room, and a lake with a day of recordings for each."""

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

from habla_ml.annotation import AnnotationEvent, load_events, read_events
from habla_ml.annotation.label_studio import (
    AudioShelf,
    LabelStudio,
    Project,
    PullReport,
    PushReport,
    RunningServer,
    ServerPlace,
    install_server,
    open_project,
    open_shelf,
    pull_events,
    push_segments,
    running_server,
    server_place,
)
from habla_ml.annotation.review import ReviewItem
from habla_ml.recordings import HABLA, ingest_day, segment_id
from habla_ml_tests.lake.conftest import BUCKET, s3_endpoint
from habla_ml_tests.recordings.world import NOW, World, make_world, write_session

__all__ = ["BUCKET", "s3_endpoint"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}
DAY, SESSION = "2026-02-16", "11111_20260216_090000"


@dataclass
class Server:
    """A server that tests may kill and start again."""

    place: ServerPlace
    stack: ExitStack = field(default_factory=ExitStack)
    running: RunningServer | None = None

    @property
    def now(self) -> RunningServer:
        assert self.running is not None
        return self.running

    def start(self) -> None:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in CREDENTIALS.items():
                environment.setenv(name, value)
            self.running = self.stack.enter_context(running_server(self.place))

    def kill(self) -> None:
        self.now.process.kill()
        self.now.process.wait()
        self.stack.close()

    @property
    def http(self) -> httpx.Client:
        """What a browser or a person's script could do."""
        headers = {"Authorization": f"Token {self.now.login.token}"}
        return httpx.Client(base_url=self.now.url, headers=headers, timeout=60)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, s3_endpoint: str) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("label_studio")
    port = free_port()
    world = make_world(root, lake={"endpoint_url": s3_endpoint}, annotation={"label_studio": {"port": port}})
    place = server_place(world.settings)
    install_server(place.environment, print)
    started = Server(place)
    started.start()
    with started.stack:
        yield started
        started.stack.close()


@dataclass(frozen=True)
class Room:
    """A lake with a day of recordings, and a project of its own on the server."""

    world: World
    server: Server
    client: LabelStudio
    shelf: AudioShelf
    title: str

    @property
    def project(self) -> Project:
        return open_project(self.client, self.title, self.shelf)

    def push(self, items: list[ReviewItem], batch_size: int = 500) -> PushReport:
        return push_segments(
            items, self.world.lake, self.client, self.project, self.shelf, batch_size, lambda _: None
        )

    def pull(self, **options: Any) -> PullReport:
        chosen = self.world.settings.annotation.label_studio.model_copy(update=options)
        return pull_events(self.world.lake, self.client, self.project, chosen, datetime.now(UTC))

    def events(self) -> list[AnnotationEvent]:
        day = load_events(self.world.lake, DAY)
        return [] if day is None else read_events(self.world.lake, day)

    def tasks(self) -> dict[str, list[int]]:
        """Segment → its tasks on the server."""
        found: dict[str, list[int]] = {}
        for task in self.client.listed_tasks(self.project.id):
            found.setdefault(task.data.get("segment_id", ""), []).append(task.id)
        return found

    def forget_what_was_pushed(self) -> None:
        for path in (self.world.root / "lake" / "pointers" / "label_studio").rglob("pushed.json"):
            path.unlink()

    def submit(self, number: int, *result: dict[str, Any], **more: Any) -> int:
        """Answer the newest task of segment `number` as the page does; returns the annotation's id."""
        task = self.tasks()[segment(number)][-1]
        with self.server.http as http:
            answer = http.post(f"/api/tasks/{task}/annotations", json={"result": list(result), **more})
            answer.raise_for_status()
            made: int = answer.json()["id"]
        return made


@pytest.fixture
def room(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Room]:
    title = request.node.name[:50]
    options = {"port": server.place.port, "folder": str(server.place.folder), "title": title, "page_size": 2}
    world = make_world(tmp_path, annotation={"label_studio": options})
    write_session(world.recordings, SESSION, 5)
    ingest_day(world.recordings, DAY, world.lake, world.settings, NOW)
    shelf = open_shelf(world.settings, server.place.documents)
    with LabelStudio(server.place.url, server.now.login.token, patience_s=30) as client:
        yield Room(world, server, client, shelf, title)


@pytest.fixture
def page() -> Iterator[Page]:
    """A tab of a real browser."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium: apt-get install -y --no-install-recommends chromium, then run again")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=flags)
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


def segment(number: int) -> str:
    return segment_id(HABLA, SESSION, f"segment_{number:03d}.wav")


def item(number: int, **changes: Any) -> ReviewItem:
    values: dict[str, Any] = {
        "segment_id": segment(number),
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


def typed(text: str, name: str = "transcription") -> dict[str, Any]:
    return {"from_name": name, "to_name": "audio", "type": "textarea", "value": {"text": [text]}}


def chosen(*choices: str, name: str = "unusable") -> dict[str, Any]:
    return {"from_name": name, "to_name": "audio", "type": "choices", "value": {"choices": list(choices)}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
