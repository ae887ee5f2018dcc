"""Both directions agree with the tables, name nobody, and read no more than they state."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from habla_ml.code_identity import read_code_identity
from habla_ml.consent.tombstones import add_tombstones
from habla_ml.corpus.snapshot import load_latest_snapshot, save_snapshot
from habla_ml.errors import InputError
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.lake.table import read_table
from habla_ml.lineage.node import LineageBounds, LineageNode
from habla_ml.lineage.trace import Lineage, recognise_kind, trace_lineage
from habla_ml.training.record import StartRecord
from habla_ml_tests.testing.full_lake import DAYS, ENROLLED_SPEAKER, FullLake, list_sessions
from habla_ml_tests.testing.released_lake import SIGNER, make_released_lake
from habla_ml_tests.testing.trained_versions import fake_digest, make_training_record

LISTED = LineageBounds(with_segments=True)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[FullLake, DirectoryStore]:
    return make_released_lake(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def rows(released: tuple[FullLake, DirectoryStore]) -> list[dict[str, str]]:
    full_lake, _ = released
    return read_table(full_lake.lake, full_lake.snapshot.segments).to_pylist()


def trace(released: tuple[FullLake, DirectoryStore], name: str, bounds: LineageBounds = LISTED) -> Lineage:
    return trace_lineage(released[0].lake, released[1], name, bounds)


def find(node: LineageNode, kind: str) -> list[LineageNode]:
    """Return the nodes of a kind in a tree."""
    return [each for below in node.below for each in ([below] if below.kind == kind else []) + find(below, kind)]


def describe_releases(node: LineageNode) -> list[tuple[str, object, object]]:
    return [(each.id, each.details["channel"], each.details["is_current"]) for each in find(node, "release")]


def test_a_session_leads_to_its_snapshot_its_versions_and_their_releases(released, rows) -> None:
    session = next(row["session_id"] for row in rows if row["split"] == "train")
    [root] = trace(released, session).roots
    counts = Counter(row["split"] for row in rows if row["session_id"] == session)
    assert (root.kind, root.id, root.details["segments"]) == ("session", session, 4)
    [snapshot] = root.below
    assert (snapshot.id, snapshot.details) == (released[0].snapshot.id, {"is_newest": True, **counts})
    assert {each.id: dict(each.details) for each in snapshot.below} == {"v1": dict(counts), "v2": dict(counts)}
    assert describe_releases(root) == [
        ("2026.11.21-v1", "stable", True),
        ("2026.11.22-v2", "beta", True),
        ("2026.11.22-v2", "stable", False),
    ]


def test_a_test_segment_leads_only_to_the_version_that_was_tested_on_it(released, rows) -> None:
    segment = next(row for row in rows if row["split"] == "test")
    [root] = trace(released, segment["segment_id"]).roots
    assert (root.kind, root.details["session"], root.details["days"]) == (
        "segment",
        segment["session_id"],
        [segment["day"]],
    )
    # v1 was planned but never evaluated.
    assert [(each.id, each.details) for each in find(root, "version")] == [("v2", {"test": 1})]
    assert [each.id for each in find(root, "release")] == ["2026.11.22-v2", "2026.11.22-v2"]


@pytest.mark.parametrize("name", ["v2", "2026.11.22-v2"])
def test_a_version_and_its_release_lead_back_to_every_segment_that_they_used(released, rows, name: str) -> None:
    [root] = trace(released, name).roots
    [snapshot] = find(root, "snapshot")
    used = [row for row in rows if row["split"] in ("train", "validation", "test")]
    assert snapshot.details["splits"] == ["train", "validation", "test"]
    assert snapshot.details["sessions"] == len({row["session_id"] for row in used})
    listed = {
        (session.details["day"], session.id, segment.id, segment.details["split"])
        for session in snapshot.below
        for segment in session.below
    }
    assert listed == {(row["day"], row["session_id"], row["segment_id"], row["split"]) for row in used}
    for session in snapshot.below:
        counts = Counter(row["split"] for row in used if row["session_id"] == session.id)
        assert session.details == {"day": session.details["day"], **counts}


def test_every_segment_found_on_the_way_back_leads_forward_again(released) -> None:
    [root] = trace(released, "2026.11.22-v2").roots
    segments = find(root, "segment")
    assert segments
    for segment in segments:
        [forward] = trace(released, segment.id).roots
        assert ("2026.11.22-v2", "beta", True) in describe_releases(forward)


def test_a_version_that_was_only_planned_used_no_test_segment(released, rows) -> None:
    [root] = trace(released, "v1").roots
    assert {each.details["split"] for each in find(root, "segment")} == {"train", "validation"} & {
        row["split"] for row in rows
    }
    assert describe_releases(root) == [("2026.11.21-v1", "stable", True)]


def test_a_release_names_its_channels_its_manifest_and_its_code(released) -> None:
    [root] = trace(released, "2026.11.22-v2").roots
    assert root.details["channels"] == ["beta", "stable"]
    assert root.details["is_current_on"] == ["beta"]
    assert root.details["released_by_code"] == str(read_code_identity())
    assert released[1].read(str(root.details["manifest"]))
    assert root.details["has_override"] is True


def test_no_word_and_no_name_of_a_person_is_in_an_answer(released) -> None:
    names = [*list_sessions()[:2], "v1", "v2", "2026.11.22-v2"]
    text = json.dumps([trace(released, each).to_json() for each in names], ensure_ascii=False)
    assert "clase10_20260216_100000" in text
    for secret in ("Frase", "secreta", "maquina", ENROLLED_SPEAKER, "Speaker A", SIGNER, "Candelaria"):
        assert secret not in text


def rename_session(lake: Lake, object_id: str, before: str, after: str, folder: Path) -> str:
    """Return a copy of a table in which a session has another name."""
    rows = read_table(lake, object_id)
    names = [after if each == before else each for each in rows["session_id"].to_pylist()]
    at = rows.column_names.index("session_id")
    path = folder / f"{object_id}.parquet"
    pq.write_table(rows.set_column(at, rows.schema.field(at), pa.array(names)), path)
    return lake.put_file(path)


@pytest.mark.long
def test_a_session_that_is_named_by_its_speaker_has_a_digest_that_can_be_asked_for(tmp_path: Path) -> None:
    full_lake, store = make_released_lake(tmp_path)
    lake, session, named = full_lake.lake, list_sessions()[1], "corpus-frases-Candelaria Ruiz"
    day = lake.read_pointer(f"recordings/{DAYS[0]}")
    facts = rename_session(lake, day.value["facts"], session, named, tmp_path)
    lake.move_pointer(day.name, {**day.value, "facts": facts}, day)
    segments = rename_session(lake, full_lake.snapshot.segments, session, named, tmp_path)
    snapshot = save_snapshot(lake, replace(full_lake.snapshot, id="", segments=segments))
    lake.move_pointer(
        "models/v3/plan", {"version": "v3", "snapshot": snapshot.id, "recipe": "0", "corpus_hours": 1}, None
    )
    back = trace_lineage(lake, store, "v3", LISTED)
    [shown] = [each.id for each in find(back.roots[0], "session") if each.id.startswith("session-")]
    answers = [trace_lineage(lake, store, each, LineageBounds()) for each in (named, shown)]
    assert answers[0].to_json() == answers[1].to_json()
    assert answers[0].roots[0].id == shown
    assert [each.id for each in find(answers[0].roots[0], "version")][-1] == "v3"
    assert "Candelaria" not in json.dumps([each.to_json() for each in (back, *answers)])


def test_an_answer_lists_a_bounded_number_of_sessions_and_counts_the_others(released, rows) -> None:
    [root] = trace(released, "v1", LineageBounds(most_sessions=1)).roots
    [snapshot] = find(root, "snapshot")
    total = len({row["session_id"] for row in rows if row["split"] in ("train", "validation")})
    assert (snapshot.details["sessions"], snapshot.details["sessions_listed"]) == (total, 1)
    assert len(snapshot.below) == 1
    assert find(snapshot, "segment") == []


def test_only_the_day_of_a_session_is_read(released, rows) -> None:
    dated = trace(released, list_sessions()[0]).cost
    assert (dated.days, dated.snapshots) == (1, 1)
    segment = next(row["segment_id"] for row in rows if row["day"] == DAYS[0])
    assert trace(released, segment).cost.days == 2, "the newest day is searched first"
    assert trace(released, segment, LineageBounds(day=DAYS[0])).cost.days == 1


def store_record(lake: Lake, version: str, tree: str, start: str | None) -> None:
    continued = None if start is None else StartRecord(repository="a/b", revision="1" * 40, tree=start)
    record = make_training_record(version).model_copy(update={"tree": tree, "start": continued})
    value = {"tree": tree, "record": lake.put_json(record.model_dump(mode="json")), "identity": record.identity_digest}
    lake.move_pointer(f"models/{version}/checkpoint", value, None)


@pytest.mark.long
def test_a_voice_is_followed_into_the_versions_that_continue_from_its_version(tmp_path: Path) -> None:
    full_lake, store = make_released_lake(tmp_path)
    lake, trees = full_lake.lake, {version: fake_digest(version) for version in ("v1", "v5", "v6")}
    store_record(lake, "v1", trees["v1"], None)
    store_record(lake, "v5", trees["v5"], trees["v1"])
    store_record(lake, "v6", trees["v6"], trees["v5"])
    store_record(lake, "v8", fake_digest("v8"), fake_digest("v8"))  # a training that changed no weight
    segments = read_table(lake, full_lake.snapshot.segments).to_pylist()
    trained = next(row["segment_id"] for row in segments if row["split"] == "train")
    tested = next(row["segment_id"] for row in segments if row["split"] == "test")
    [root] = trace_lineage(lake, store, trained, LineageBounds()).roots
    [first] = [each for each in find(root, "version") if each.id == "v1"]
    assert [(each.id, each.details) for each in find(first, "version")] == [
        ("v5", {"continues_from": "v1"}),
        ("v6", {"continues_from": "v5"}),
    ]
    [other] = trace_lineage(lake, store, tested, LineageBounds()).roots
    assert not {"v5", "v6"} & {each.id for each in find(other, "version")}
    lake.move_pointer("models/v6/plan", dict(lake.read_pointer("models/v1/plan").value), None)
    [back] = trace_lineage(lake, store, "v6", LISTED).roots
    parents = {each.id: each for each in find(back, "version")}
    assert parents.keys() == {"v5", "v1"}
    assert trained in {each.id for each in find(parents["v1"], "segment")}


@pytest.mark.long
def test_a_snapshot_is_read_by_day(tmp_path: Path) -> None:
    full_lake, store = make_released_lake(tmp_path)
    lake, snapshot = full_lake.lake, full_lake.snapshot
    table = read_table(lake, snapshot.segments).sort_by("day")
    small = tmp_path / "small.parquet"
    pq.write_table(table, small, row_group_size=1)
    later = save_snapshot(lake, replace(snapshot, id="", segments=lake.put_file(small)))
    without = save_snapshot(lake, replace(snapshot, id="", recordings={DAYS[1]: snapshot.recordings[DAYS[1]]}))
    for version, each in (("v3", later), ("v4", without)):
        plan = {"version": version, "snapshot": each.id, "recipe": "0" * 64, "corpus_hours": 1.0}
        lake.move_pointer(f"models/{version}/plan", plan, None)
    found = trace_lineage(lake, store, list_sessions()[0], LineageBounds())
    on_day = sum(day == DAYS[0] for day in table["day"].to_pylist())
    recorded = 12
    assert 0 < on_day < table.num_rows
    assert found.cost.snapshots == 2, "the snapshot without that day is not opened"
    assert found.cost.rows == recorded + table.num_rows + on_day


@pytest.mark.long
def test_the_same_sound_on_another_day_is_followed_where_it_is_asked_for(tmp_path: Path) -> None:
    full_lake, store = make_released_lake(tmp_path)
    lake = full_lake.lake
    snapshot = load_latest_snapshot(lake)
    table = read_table(lake, snapshot.segments)
    rows = table.to_pylist()
    gone = next(row for row in rows if row["split"] == "train" and row["day"] == DAYS[0])
    kept = next(row for row in rows if row["split"] == "train" and row["day"] == DAYS[1])
    # The snapshot keeps another recording of the sound, on the other day.
    changed = [{**row, "audio_sha256": gone["audio_sha256"]} if row is kept else row for row in rows if row is not gone]
    path = tmp_path / "changed.parquet"
    pq.write_table(pa.Table.from_pylist(changed, table.schema), path)
    copied = save_snapshot(lake, replace(snapshot, id="", segments=lake.put_file(path)))
    lake.move_pointer(
        "models/v9/plan", {"version": "v9", "snapshot": copied.id, "recipe": "0", "corpus_hours": 1}, None
    )
    for bounds, versions in ((LineageBounds(), ["v1", "v2"]), (LineageBounds(with_copies=True), ["v1", "v2", "v9"])):
        [root] = trace_lineage(lake, store, gone["segment_id"], bounds).roots
        assert sorted(each.id for each in find(root, "version")) == versions


def test_a_recording_that_no_snapshot_has_is_shown_alone(released, tmp_path: Path) -> None:
    lake = Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
    full_lake, store = released
    day = full_lake.lake.read_pointer(f"recordings/{DAYS[0]}")
    assert day is not None
    lake.put_file(full_lake.lake.fetch_path(day.value["facts"]))
    lake.move_pointer(day.name, day.value, None)
    [root] = trace_lineage(lake, store, list_sessions()[0], LineageBounds()).roots
    assert (root.details["segments"], root.below) == (4, ())


def test_what_does_not_exist_is_an_error_with_the_next_step(released) -> None:
    missing = "00000000-0000-5000-8000-000000000000"
    with pytest.raises(InputError, match=r"newest 400 days .* name its day with --day"):
        trace(released, missing)
    with pytest.raises(InputError, match=r"newest 1 days .* or search more days"):
        trace(released, "no session", LineageBounds(most_days=1))
    with pytest.raises(InputError, match=r"session otra_20260216_100000 is not among the recordings of 2026-02-16"):
        trace(released, "otra_20260216_100000")
    with pytest.raises(InputError, match=r"'../16' is no day"):
        trace(released, missing, LineageBounds(day="../16"))
    with pytest.raises(InputError, match=r"model version v7 has no plan .*choose one of: v1, v2"):
        trace(released, "v7")
    with pytest.raises(InputError, match=r"released 2026\.11\.21-v7; choose one of: 2026\.11\.21-v1, 2026\.11\.22-v2"):
        trace(released, "2026.11.21-v7")


@pytest.mark.long
def test_an_erased_segment_is_named_as_erased(tmp_path: Path) -> None:
    full_lake, store = make_released_lake(tmp_path)
    erased = "00000000-0000-5000-8000-000000000000"
    add_tombstones(full_lake.lake, [erased], [])
    with pytest.raises(InputError, match="was erased after a withdrawn consent"):
        trace_lineage(full_lake.lake, store, erased, LineageBounds())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("v12", "version"),
        ("v2-s3", "version"),
        ("v2-p25", "version"),
        ("2026.11.21-v2", "release"),
        ("2026.11.21-v2.2", "release"),
        ("6d0c8b5e-1f0e-5c55-9a3f-0b7a3c1d2e4f", "segment"),
        ("6D0C8B5E-1F0E-5C55-9A3F-0B7A3C1D2E4F", "segment"),
        ("11111_20260216_090000", "session"),
        ("upload-0123456789ab", "session"),
        ("6d0c8b5e1f0e5c559a3f0b7a3c1d2e4f", "session"),
    ],
)
def test_the_form_of_a_name_decides_what_it_is_of(name: str, kind: str) -> None:
    assert recognise_kind(name) == kind
