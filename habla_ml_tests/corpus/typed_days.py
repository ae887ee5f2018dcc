"""Two days of a session each, with what people typed: the text of a corpus before any conventions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from habla_ml.annotation import collect_events
from habla_ml.corpus.conventions import load_conventions
from habla_ml_tests.recordings.world import NOW, V1, World, ingest, make_world, write_corrections, write_session

MONDAY, TUESDAY = "2026-02-16", "2026-02-17"
A, B = "11111_20260216_090000", "22222_20260217_090000"
THREE = load_conventions(V1.with_name("orthographic-v3.yaml"))


def type_two_days(root: Path, monday: Mapping[int, str], tuesday: str) -> World:
    """Six segments on Monday, of which some are typed by number, and one on Tuesday; ingested and collected."""
    world = make_world(root)
    write_corrections(write_session(world.recordings, A, 6), monday)
    write_corrections(write_session(world.recordings, B, 1), {1: tuesday})
    for day in (MONDAY, TUESDAY):
        ingest(world, day)
        collect_events(world.recordings, day, world.lake, world.settings, NOW)
    return world
