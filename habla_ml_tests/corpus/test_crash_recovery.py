"""Killed at any step of publishing, the next run ends where an undisturbed one does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from habla_ml.annotation.sources import collect_events
from habla_ml.corpus.build import build_day
from habla_ml.corpus.snapshot import Snapshot, read_utterances
from habla_ml.corpus.splits import make_snapshot
from habla_ml.lake import DirectoryStore, Lake, Pointer
from habla_ml.recordings.ingest import ingest_day
from habla_ml_tests.testing.habla_sessions import (
    NOW,
    HablaWorkspace,
    make_workspace,
    write_corrections,
    write_session,
)

DAY = "2026-02-16"


class Killed(BaseException):
    """What no code may catch."""


class CrashingLake(Lake):
    """A lake that kills its process immediately before or after its `step`-th write."""

    def __init__(self, root: Path, step: int) -> None:
        super().__init__(DirectoryStore(root / "lake"), root / "cache")
        self._left = step

    def put_bytes(self, data: bytes) -> str:
        self._tick()
        return super().put_bytes(data)

    def put_file(self, path: Path) -> str:
        self._tick()
        return super().put_file(path)

    def move_pointer(self, name: str, value: Mapping[str, Any], seen: Pointer | None) -> Pointer:
        self._tick()
        return super().move_pointer(name, value, seen)

    def _tick(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Killed


def publish_corpus(workspace: HablaWorkspace, lake: Lake) -> Snapshot:
    ingest_day(workspace.recordings, DAY, lake, workspace.settings, NOW)
    collect_events(lake, DAY, workspace.settings, NOW)
    build_day(lake, DAY, workspace.conventions, workspace.settings)
    return make_snapshot(lake, workspace.settings, workspace.conventions)


@pytest.mark.long
def test_a_run_after_a_kill_at_any_write_publishes_the_same_snapshot(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "calm")
    for number in range(3):
        session = write_session(workspace.recordings, f"{number}_20260216_10000{number}", 1, seconds=0.2)
        write_corrections(session, {1: "Uno."})
    expected = publish_corpus(workspace, workspace.lake)
    deaths, dying = 0, True
    while dying:
        root = tmp_path / f"step-{deaths + 1}"
        try:
            publish_corpus(workspace, CrashingLake(root, deaths + 1))
            dying = False
        except Killed:
            deaths += 1
        lake = Lake(DirectoryStore(root / "lake"), root / "cache")
        snapshot = publish_corpus(workspace, lake)
        assert snapshot == expected
        assert sum(1 for _ in read_utterances(lake, snapshot, "train")) == expected.counts["train"]
    assert deaths >= 10
