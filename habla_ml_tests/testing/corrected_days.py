"""Two days with one corrected session each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources import SOURCES, collect_events
from habla_ml.corpus.build import find_outdated_days
from habla_ml.corpus.conventions import load_conventions
from habla_ml.recordings.change_detection import ChangedDay
from habla_ml_tests.testing.habla_sessions import (
    NOW,
    V1,
    HablaWorkspace,
    ingest_into,
    make_workspace,
    write_corrections,
    write_session,
)

MONDAY, TUESDAY = "2026-02-16", "2026-02-17"
A, B = "11111_20260216_090000", "22222_20260217_090000"
CONVENTIONS_V3 = load_conventions(V1.with_name("orthographic-v3.yaml"))


def create_annotated_lake(root: Path, monday: Mapping[int, str], tuesday: str) -> HablaWorkspace:
    """Ingest and collect six segments on Monday, with texts by number, and one on Tuesday."""
    workspace = make_workspace(root)
    write_corrections(write_session(workspace.recordings, A, 6), monday)
    write_corrections(write_session(workspace.recordings, B, 1), {1: tuesday})
    for day in (MONDAY, TUESDAY):
        ingest_into(workspace, day)
        collect_events(workspace.lake, day, workspace.settings, NOW)
    return workspace


def list_outdated_days(workspace: HablaWorkspace) -> list[ChangedDay]:
    """Return the days that the sensors of annotation sources ask for."""
    context = SourceContext(workspace.lake, workspace.settings, NOW)
    return list(find_outdated_days(workspace.lake, [each.find_changes(context) for each in SOURCES]))


def list_source_errors(workspace: HablaWorkspace) -> dict[str, str]:
    """Return what the sources cannot examine at a tick → the error."""
    context = SourceContext(workspace.lake, workspace.settings, NOW)
    return {error.subject: error.message for each in SOURCES for error in each.find_changes(context).errors}
