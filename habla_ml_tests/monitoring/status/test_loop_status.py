"""The state of the loop, from a real folder and lake; each broken part costs its own lines only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.annotation.review_queue import ReviewItem, save_queue
from habla_ml.annotation.sources import collect_events
from habla_ml.corpus.build import build_day
from habla_ml.errors import LakeError
from habla_ml.lake import Lake
from habla_ml.lake.factory import open_store
from habla_ml.monitoring.finding import Finding
from habla_ml.monitoring.status.facts import ActiveRun, FailedWork, OrchestratorFacts, ScheduledTick
from habla_ml.monitoring.status.input_lines import describe_tables
from habla_ml.monitoring.status.inputs import StatusInputs, format_duration
from habla_ml.monitoring.status.loop_status import LoopStatus, read_loop_status
from habla_ml.recordings.segments import read_segment_metadata
from habla_ml_tests.testing.habla_sessions import (
    DAY,
    HablaWorkspace,
    ingest_into,
    make_workspace,
    set_age,
    write_corrections,
    write_session,
)

NOW = datetime.now(UTC)
FACTS = OrchestratorFacts(
    heartbeat_at=NOW - timedelta(seconds=12),
    silent_daemons=(),
    active=(ActiveRun("ingest_day", "2026-02-16", False, NOW - timedelta(minutes=3)),),
    failed=(FailedWork("update_text", "2026-02-17", "LakeError", NOW - timedelta(hours=1), 4, "tried again at 12:00"),),
    ticks=(
        ScheduledTick("sensor", "new_recordings", "Requests days", True, NOW + timedelta(seconds=20), ""),
        ScheduledTick("sensor", "corpus_growth", "Requests a version", True, NOW + timedelta(seconds=20), "LakeError"),
        ScheduledTick("schedule", "weekly_review", "Chooses", False, None, ""),
    ),
)


def refuse_lake() -> Lake:
    raise LakeError("the lake is not mounted; mount it")


def refuse_facts() -> OrchestratorFacts:
    raise ValueError("a secret text")


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    loop = {"least_free_gb": 0}
    return make_workspace(tmp_path, recordings={"max_recordings": 6}, monitoring={"loop": loop})


@pytest.fixture
def read(workspace: HablaWorkspace) -> Callable[..., LoopStatus]:
    def read_status(
        open_lake: Callable[[], Lake] = lambda: workspace.lake,
        read_orchestrator: Callable[[], OrchestratorFacts | None] = lambda: FACTS,
    ) -> LoopStatus:
        store = workspace.settings.release.store
        inputs = StatusInputs(workspace.settings, NOW, open_lake, lambda: open_store(store), read_orchestrator)
        return read_loop_status(inputs)

    return read_status


def find(status: LoopStatus, subject: str) -> Finding:
    (found,) = [each for section in status.sections for each in section.findings if each.subject == subject]
    return found


def add_session(workspace: HablaWorkspace, hour: int, age_h: float = 13.0) -> Path:
    session = write_session(workspace.recordings, f"{hour}_20260216_{hour:02d}0000", 2, seconds=9)
    set_age(session, age_h, NOW)
    return session


def test_the_growth_is_the_hours_towards_the_next_version(workspace, read):
    session = add_session(workspace, 8)
    ingest_into(workspace)
    write_corrections(session, {1: "hola hola hola", 2: "hola hola hola"})
    assert find(read(), "corrections").values == {"days": 1}
    collect_events(workspace.lake, DAY, workspace.settings, NOW)
    assert find(read(), "text of the corpus").values == {"days": 1}
    build_day(workspace.lake, DAY, workspace.conventions, workspace.settings)
    status = read()
    assert find(status, "text of the corpus").values == {"days": 0}
    assert find(status, "corrections").values == {"days": 0}
    growth = find(status, "next version")
    assert growth.values["hours"] == growth.values["corpus_hours"] == pytest.approx(9 * 2 / 3600, abs=1e-4)
    assert growth.found.startswith("0.0 of 10 h of corrected speech")
    assert status.figures["hours towards the next version"] == growth.values["hours"]


def test_waiting_live_and_nearly_deleted_sessions_are_counted(workspace, read):
    for hour in (8, 9, 10, 11, 12):
        add_session(workspace, hour)
    write_session(workspace.recordings, "13_20260216_130000", 1, metadata=False)
    status = read()
    recordings = find(status, "recordings")
    assert recordings.health == "wrong"
    assert recordings.values == {"waiting": 5, "live": 1, "hours": pytest.approx(13, abs=0.1)}
    folder = find(status, "Habla's folder")
    assert folder.health == "wrong"
    assert folder.values == {"folders": 6, "limit": 6, "folders_left": 1}
    assert "the session of 2026-02-16 08:00 is deleted after 1 new session" in folder.found
    ingest_into(workspace, now=NOW)
    status = read()
    assert (find(status, "recordings").health, find(status, "Habla's folder").health) == ("ok", "ok")


def test_every_skipped_session_has_its_reason_and_what_to_do(workspace, read):
    for name in ("1_19700101_000100", "2_20990301_090000", "3_20250601_090000"):
        write_session(workspace.recordings, name, 1)
    (workspace.recordings / "notes").mkdir()
    skipped = {
        each.values["session"]: each
        for section in read().sections
        for each in section.findings
        if "session" in each.values
    }
    assert list(skipped) == ["1_19700101_000100", "2_20990301_090000", "3_20250601_090000", "notes"]
    assert "clock was reset" in skipped["1_19700101_000100"].found
    assert "rename the folder" in skipped["1_19700101_000100"].next_step
    assert "after today" in skipped["2_20990301_090000"].found
    assert "set an earlier first_day" in skipped["3_20250601_090000"].next_step


def test_files_that_a_day_set_aside_are_counted_by_day(workspace, read):
    session = add_session(workspace, 8)
    (session / "segment_003.wav").write_bytes(b"no wave")
    ingest_into(workspace)
    found = find(read(), "files set aside")
    assert (found.health, found.values["files"], found.values["days"]) == ("note", 1, 1)
    assert f"{DAY} (1)" in found.found


def test_a_table_that_gives_nothing_needs_a_person(tmp_path):
    table = tmp_path / "validated.tsv"
    table.write_text("path\tsentence\n1.mp3\tUno.\n", "utf-8")
    workspace = make_workspace(tmp_path, annotation={"tables": [str(table)]})
    store = workspace.settings.release.store
    inputs = StatusInputs(workspace.settings, NOW, lambda: workspace.lake, lambda: open_store(store), lambda: FACTS)
    assert list(describe_tables(inputs)) == []
    collect_events(workspace.lake, DAY, workspace.settings, NOW)
    [found] = describe_tables(inputs)
    assert found.health == "wrong"
    assert "audio_path" in found.found
    assert found.values == {"used": 0, "remarks": 1}


def test_annotated_segments_leave_the_review_queue(workspace, read):
    session = add_session(workspace, 8)
    day = ingest_into(workspace)
    rows = list(read_segment_metadata(workspace.lake, day.metadata, ["segment_id"]))
    items = [
        ReviewItem(row["segment_id"], session.name, DAY, "Speaker A", 9.0, "", "habla", 1.0, ("random: x",), True)
        for row in rows
    ]
    save_queue(workspace.lake, items, NOW - timedelta(days=1))
    assert find(read(), "review queue").values["left"] == 2
    write_corrections(session, {1: "hola"}, at=NOW.isoformat())
    collect_events(workspace.lake, DAY, workspace.settings, NOW)
    found = find(read(), "review queue")
    assert (found.health, found.values["left"], found.values["segments"]) == ("ok", 1, 2)


def test_dagsters_part_shows_the_daemon_runs_failures_and_what_is_next(read):
    status = read()
    assert find(status, "daemon").found == "alive, 12 s ago"
    assert "ingest_day 2026-02-16 (running 3 min)" in find(status, "runs").found
    failed = find(status, "failed run")
    assert failed.found.startswith("update_text 2026-02-17: LakeError (4 times)")
    assert failed.next_step == "tried again at 12:00"
    assert "is switched off" in find(status, "weekly_review").found
    assert find(status, "sensors").values.keys() == {"new_recordings", "corpus_growth"}
    problems = {each.subject for each in status.problems}
    assert problems == {"failed run", "corpus_growth"}


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (replace(FACTS, heartbeat_at=None), "has never run"),
        (replace(FACTS, heartbeat_at=NOW - timedelta(hours=3)), "stopped 3 h ago"),
        (replace(FACTS, silent_daemons=("sensor",)), "its parts sensor are silent"),
    ],
)
def test_a_daemon_that_does_not_run_is_wrong(read, facts, text):
    found = find(read(read_orchestrator=lambda: facts), "daemon")
    assert found.health == "wrong"
    assert text in found.found


def test_work_that_is_given_up_says_what_to_launch(read):
    given_up = replace(FACTS.failed[0], next_try="")
    failed = find(read(read_orchestrator=lambda: replace(FACTS, failed=(given_up,))), "failed run")
    assert failed.next_step == "given up: fix the cause, then launch update_text"


def test_without_dagster_home_the_lake_and_the_folder_are_shown(workspace, read):
    add_session(workspace, 8)
    status = read(read_orchestrator=lambda: None)
    assert find(status, "daemon").found == "unknown: DAGSTER_HOME is not set"
    assert find(status, "daemon").health == "note"
    assert find(status, "recordings").values["waiting"] == 1


def test_a_lake_that_is_down_costs_its_lines_and_is_explained_once(workspace, read):
    add_session(workspace, 8)
    write_session(workspace.recordings, "1_19700101_000100", 1)
    status = read(open_lake=refuse_lake)
    lake = find(status, "lake")
    assert (lake.health, lake.found, lake.next_step) == ("wrong", "unknown: the lake is not mounted", "mount it")
    for subject in ("next version", "recordings", "corrections", "review queue", "files set aside", "Habla's folder"):
        assert find(status, subject).found == "unknown, see lake", subject
    assert find(status, "daemon").health == "ok"
    assert find(status, "skipped session").values == {"session": "1_19700101_000100"}
    assert find(status, "released model").found == "none yet on the channel stable"


def test_a_missing_recordings_folder_costs_its_lines(workspace, read):
    shutil.rmtree(workspace.recordings)
    status = read()
    assert "cannot be listed" in find(status, "Habla's folder").found
    assert find(status, "recordings").found == "unknown, see Habla's folder"
    assert find(status, "next version").health == "ok"


def test_a_fault_nobody_thought_of_is_a_line_without_its_text(read):
    status = read(read_orchestrator=refuse_facts)
    assert find(status, "daemon").found == "unknown: ValueError"
    assert "secret" not in json.dumps(status.to_json())


def test_the_json_has_every_section_with_its_figures(read):
    found = json.loads(json.dumps(read().to_json()))
    assert list(found["sections"]) == ["Now", "Waiting", "Failed or set aside", "Next"]
    growth = next(each for each in found["sections"]["Now"] if each["subject"] == "next version")
    assert growth["values"]["hours_needed"] == 10


def test_durations_have_one_unit():
    durations = {0: "0 s", 12.4: "12 s", 600: "10 min", 7200: "2 h", 3 * 86400: "3 days"}
    assert {seconds: format_duration(seconds) for seconds in durations} == durations
