"""Sessions as Habla leaves them give no false drift: all segments marked rejected, and folders copied."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources.habla import SOURCE
from habla_ml.corpus.build import build_day
from habla_ml.corpus.snapshot import SNAPSHOT_SCHEMA
from habla_ml.corpus.speakers import SpeakerMap
from habla_ml.lake.table import put_table
from habla_ml.monitoring.fresh_corrections import open_fresh_corrections
from habla_ml.monitoring.inputs import sum_days
from habla_ml.monitoring.snapshot_contents import SnapshotContents
from habla_ml_tests.testing.habla_sessions import DAY, NOW, A, B, HablaWorkspace, ingest_into
from habla_ml_tests.testing.habla_states import copy_session, save_review, write_live_session

NOTHING_TRAINED = SnapshotContents("", frozenset(), frozenset(), {})
COPY, TUESDAY = "11111_20260217_090000", "2026-02-17"
TEXTS = ["Hola a todos.", "Buenos días.", "Hasta luego."]


def test_a_session_that_is_wholly_rejected_counts_for_no_share(workspace: HablaWorkspace) -> None:
    write_live_session(workspace.recordings, A, 3, seed=1)
    ingest_into(workspace)
    found = sum_days(workspace.lake, [DAY], {}, NOTHING_TRAINED, SpeakerMap())[DAY]
    assert "rejected" not in found.sums
    write_live_session(workspace.recordings, B, 4, seed=2, texts={1: "uno", 2: "dos", 4: "cuatro"})
    ingest_into(workspace)
    found = sum_days(workspace.lake, [DAY], {}, NOTHING_TRAINED, SpeakerMap())[DAY]
    assert (found.sums["rejected"].y, found.sums["rejected"].x) == (1, 4)


def test_a_copied_session_adds_nothing_to_a_day(workspace: HablaWorkspace) -> None:
    session = write_live_session(workspace.recordings, A, 3, seed=1)
    ingest_into(workspace)
    before = sum_days(workspace.lake, [DAY], {}, NOTHING_TRAINED, SpeakerMap())[DAY]
    copy_session(session, "11111-copia_20260216_090000")
    ingest_into(workspace)
    after = sum_days(workspace.lake, [DAY], {}, NOTHING_TRAINED, SpeakerMap())[DAY]
    assert (after.sums["duration_s"], after.sums["duration_s"].units) == (before.sums["duration_s"], 1)


def test_fresh_corrections_of_copies_are_one_session_with_each_sound_once(workspace: HablaWorkspace) -> None:
    session = write_live_session(workspace.recordings, A, 3, seed=1)
    copy = copy_session(session, COPY)
    save_review(session, TEXTS, {1, 2}, at="2026-02-18T09:00:00+00:00")
    save_review(copy, ["Hola a todas.", *TEXTS[1:]], {1, 3}, {1}, at="2026-02-18T10:00:00+00:00")
    for day in (DAY, TUESDAY):
        ingest_into(workspace, day)
        SOURCE.collect(SourceContext(workspace.lake, workspace.settings, NOW), day)
        build_day(workspace.lake, day, workspace.conventions, workspace.settings)
    released = datetime(2026, 2, 1, tzinfo=UTC)
    trained = put_table(workspace.lake, SNAPSHOT_SCHEMA.empty_table())
    with open_fresh_corrections(workspace.lake, trained, released, ZoneInfo("Europe/Madrid")) as weeks:
        (found,) = weeks.values()
    assert sorted(each.sentence for each in found) == ["Buenos días.", "Hasta luego.", "Hola a todas."]
    assert {each.session_id for each in found} == {A}
