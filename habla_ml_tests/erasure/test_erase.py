"""An erasure removes one contributor's voice and text everywhere and keeps all other data."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from habla_ml.annotation.event_log import append_events, load_events, read_events
from habla_ml.annotation.review_queue import load_queue, load_review_requests
from habla_ml.annotation.source import ForgetReport, SourceContext
from habla_ml.annotation.sources import SOURCES, collect_events
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.build import build_day, load_corpus_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.export import export_dataset
from habla_ml.corpus.quality import load_baseline_hours, save_baseline_hours
from habla_ml.corpus.snapshot import OPEN_SPLITS, Snapshot, load_latest_snapshot, load_snapshot, read_utterances
from habla_ml.corpus.splits import SplitChange, load_split_changes, make_snapshot
from habla_ml.erasure.erase import erase, plan_erasure
from habla_ml.errors import TrainingError
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.evaluation.promotion.override import read_override
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.lake import DirectoryStore, Lake, S3Store, Store, compute_sha256
from habla_ml.lake.catalogue import TOMBSTONES
from habla_ml.lake.table import read_parquet
from habla_ml.recordings import day_tables
from habla_ml.recordings.days import load_day
from habla_ml.recordings.ingest import ingest_day
from habla_ml.release.override import sign_override
from habla_ml.tables import escape_markdown
from habla_ml.training.checkpoints import CheckpointStamp, stamp_checkpoint
from habla_ml.training.lease import StoredCheckpoint, hold_lease, list_unfinished_trainings
from habla_ml.training.plan import read_plan
from habla_ml.training.remedies import Remedies
from habla_ml.training.train import lock_work_folder
from habla_ml_tests.testing.chosen_segments import read_chosen_segments
from habla_ml_tests.testing.erasure import assert_nowhere, erase_all, replace_registry, withdraw
from habla_ml_tests.testing.full_lake import (
    DAYS,
    FullLake,
    encode_traces,
    iterate_stored_bytes,
    list_sessions,
    load_contributor,
    make_full_lake,
    read_pointers,
    typed_text,
)
from habla_ml_tests.testing.habla_sessions import NOW, V3, write_corrections, write_session
from habla_ml_tests.testing.s3_clients import BUCKET, new_client
from habla_ml_tests.testing.training_identities import make_identity


@pytest.fixture(params=["folder", "shards", pytest.param("s3", marks=pytest.mark.slow)])
def full_lake(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[FullLake, Store]:
    if request.param == "shards":  # of two rows each, so that sessions and people are in several
        monkeypatch.setattr(day_tables, "SHARD_SIZES", day_tables.ShardSizes(small_bytes=0, largest_bytes=1))
        monkeypatch.setattr(day_tables, "ROW_GROUP_SIZE", 2)
    if request.param != "s3":
        return make_full_lake(tmp_path), DirectoryStore(tmp_path / "lake")
    endpoint, prefix = request.getfixturevalue("s3_endpoint"), f"erase/{uuid.uuid4().hex}"
    store = S3Store(new_client(endpoint), BUCKET, prefix)
    return make_full_lake(tmp_path, lambda workspace: Lake(store, workspace.settings.work_folder / "cache")), store


@pytest.mark.long
def test_no_byte_of_voice_or_text_remains_and_other_segments_stay(
    full_lake: tuple[FullLake, Store], tmp_path: Path
) -> None:
    workspace, store = full_lake
    theirs = withdraw(workspace)
    work = workspace.workspace.settings.work_folder
    gone = [workspace.traces_by_segment[each] for each in sorted(theirs)]
    found = b"\n".join(data for _, data in iterate_stored_bytes(store, [work]))
    assert all(any(trace in found for trace in encode_traces(voice)) for voice in gone)

    report = erase_all(workspace)

    assert_nowhere(store, [work], gone)
    assert report.segments == len(theirs)
    assert report.hours == pytest.approx(len(theirs) * 0.4 / 3600)
    assert report.trained_versions == ("v1", "v2")
    assert report.evaluated_versions == ("v1", "v2")
    snapshot = load_latest_snapshot(workspace.lake)
    left = {
        each.segment_id: each.sentence
        for split in OPEN_SPLITS
        for each in read_utterances(workspace.lake, snapshot, split)
    }
    kept = {
        workspace.traces_by_segment[name].segment_id: typed_text(*name)
        for name in workspace.traces_by_segment.keys() - theirs
    }
    assert left == kept
    assert sum(snapshot.counts.values()) == len(kept)
    assert sum(snapshot.hours.values()) == pytest.approx(len(kept) * 0.4 / 3600)
    export_dataset(workspace.lake, snapshot, tmp_path / "export")
    assert_nowhere(store, [work, tmp_path / "export"], gone)


@pytest.mark.long
def test_tombstones_list_the_trained_versions_without_the_pseudonym(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    withdraw(full_lake)
    erase_all(full_lake)
    (remembered,) = read_tombstones(full_lake.lake).find_erasures("c-017")
    assert remembered.trained == ("v1", "v2")
    body = full_lake.lake.get_bytes(full_lake.lake.read_pointer(TOMBSTONES).value["tombstones"])  # type: ignore[union-attr]
    assert b"c-017" not in body


@pytest.mark.long
def test_a_second_erasure_changes_nothing_and_counts_once(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    theirs = withdraw(full_lake)
    first = erase_all(full_lake)
    before = read_pointers(full_lake.lake)
    second = erase_all(full_lake)
    assert read_pointers(full_lake.lake) == before
    assert (second.segments, second.hours, second.trained_versions) == (
        first.segments,
        first.hours,
        first.trained_versions,
    )
    assert second.segments == len(theirs)
    assert (second.moved_pointers, second.objects) == ((), 0)


@pytest.mark.long
def test_the_totals_of_pointers_count_the_remaining_segments(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    theirs = withdraw(full_lake)
    erase_all(full_lake)
    for day in DAYS:
        left = [name for name in full_lake.traces_by_segment if day.replace("-", "") in name[0] and name not in theirs]
        held, events, text = (
            load_day(full_lake.lake, day),
            load_events(full_lake.lake, day),
            load_corpus_day(full_lake.lake, day),
        )
        assert held is not None
        assert events is not None
        assert text is not None
        assert (held.segments, events.events) == (len(left), len(left))
        assert held.sessions == len({name for name, _ in left})
        assert held.hours == pytest.approx(len(left) * 0.4 / 3600)
        assert (text.counts["segments"], text.counts["annotated"]) == (len(left), len(left))
        assert (text.recordings, text.metadata, text.annotations) == (held.parquet, held.metadata, events.parquet)


@pytest.mark.long
def test_the_totals_of_the_text_count_only_the_remaining_segments(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    conventions, settings = load_conventions(V3), full_lake.workspace.settings
    assert build_day(full_lake.lake, DAYS[0], conventions, settings).violations == {"digits": 12}
    theirs = {each for each in withdraw(full_lake) if DAYS[0].replace("-", "") in each[0]}
    assert 0 < len(theirs) < 12
    erase_all(full_lake)
    text = load_corpus_day(full_lake.lake, DAYS[0])
    assert text is not None
    left = 12 - len(theirs)
    assert text.violations == {"digits": left}
    assert text.problems == {}
    assert text.hours == pytest.approx(left * 0.4 / 3600)
    assert text.counts == {
        "segments": left,
        "annotated": left,
        "usable": left,
        "corrected": left,
        "confirmed": 0,
        "unusable": 0,
        "without_recording": 0,
    }


@pytest.mark.long
def test_ingest_corrections_and_copies_do_not_restore_erased_segments(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    theirs = withdraw(full_lake)
    gone = [full_lake.traces_by_segment[each] for each in sorted(theirs)]
    session, _ = min(theirs)
    old = [event for day in DAYS for event in read_events(full_lake.lake, load_events(full_lake.lake, day))]  # type: ignore[arg-type]
    erase_all(full_lake)
    # Restored from a backup with new times, corrected again, and copied to a session with a new name.
    workspace = full_lake.workspace
    for name in list_sessions():
        (workspace.recordings / name / "metadata.json").touch()
        write_corrections(
            workspace.recordings / name, {n: typed_text(name, n) for n in range(1, 5)}, at="2026-06-01T09:00:00"
        )
    copy = write_session(workspace.recordings, f"copia_{DAYS[0].replace('-', '')}_150000", 4, seed=0)
    for path in copy.glob("*.wav"):
        path.write_bytes((workspace.recordings / session / path.name).read_bytes())
    write_corrections(copy, {n: typed_text(session, n) for n in range(1, 5)})
    bare = replace_registry(workspace.settings)
    for day in DAYS:
        append_events(full_lake.lake, day, [replace(each, person="otra") for each in old if each.day == day], {})
        ingest_day(workspace.recordings, day, full_lake.lake, bare, NOW)
        collect_events(full_lake.lake, day, bare, NOW)
        build_day(full_lake.lake, day, workspace.conventions, bare)
    snapshot = make_snapshot(full_lake.lake, bare, workspace.conventions)
    erased = {voice.segment_id for voice in gone}
    assert not any(
        each.segment_id in erased for split in OPEN_SPLITS for each in read_utterances(full_lake.lake, snapshot, split)
    )
    reingested = {each.session_id for split in OPEN_SPLITS for each in read_utterances(full_lake.lake, snapshot, split)}
    assert copy.name not in reingested
    for name, data in iterate_stored_bytes(DirectoryStore(tmp_path / "lake"), []):
        for voice in gone:
            assert voice.pcm not in data, name
            assert not any(text.encode() in data for text in voice.texts), name


@pytest.mark.long
def test_an_erasure_keeps_the_rates_of_a_report_and_the_plan_of_a_version(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    withdraw(full_lake)
    before = read_stored_comparison(full_lake.lake, "v2")
    rule = partial(decide, settings=full_lake.workspace.settings.promotion)
    override = sign_override(full_lake.lake, "v2", "Ana Ruiz", "The trip to Cádiz is tomorrow.", NOW, rule)
    settings = full_lake.workspace.settings
    acceptable = settings.evaluation.acceptable.model_copy(update={"wer": 0.77})
    evaluation = settings.evaluation.model_copy(update={"acceptable": acceptable})
    erase_all(full_lake, settings.model_copy(update={"evaluation": evaluation}))
    after = read_stored_comparison(full_lake.lake, "v2")
    assert after.models == before.models
    assert after.test == before.test
    assert len(after.examples) < len(before.examples)
    plan = load_snapshot(full_lake.lake, read_plan(full_lake.lake, "v1").snapshot)
    assert plan.counts == load_latest_snapshot(full_lake.lake).counts
    page = (full_lake.workspace.settings.work_folder / "reports" / "v2" / "report.html").read_text("utf-8")
    assert all(each.reference in page for each in after.examples)
    assert "below 77\u00a0%" in page
    assert read_override(full_lake.lake, "v2", after.digest()) == override.model_copy(
        update={"evidence": after.digest()}
    )
    assert override.to_sentence() in page
    assert "<small>2026-03-01</small>" in page
    held = full_lake.lake.read_pointer("models/v2/report")
    assert held is not None
    for name in ("utterances", "word_errors"):
        copy = full_lake.workspace.settings.work_folder / "reports" / "v2" / f"{name}.parquet"
        assert compute_sha256(copy) == held.value[name]
        sessions = {row["session_id"] for row in read_parquet(copy).to_pylist()}
        assert sessions == {
            each.session_id for each in read_utterances(full_lake.lake, load_latest_snapshot(full_lake.lake), "test")
        }


@pytest.mark.long
def test_every_annotation_source_forgets_the_erased_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_lake = make_full_lake(tmp_path)
    theirs = withdraw(full_lake)
    forgotten: list[str] = []

    def forget(_: SourceContext, segment_ids: Collection[str]) -> ForgetReport:
        forgotten.extend(segment_ids)
        return ForgetReport("2 notes", ("burn the paper",))

    paper = replace(SOURCES[0], name="paper", forget=forget)
    monkeypatch.setattr("habla_ml.erasure.erase.SOURCES", (*SOURCES, paper))
    plan = plan_erasure(full_lake.lake, load_contributor(full_lake.workspace), full_lake.workspace.settings, NOW)
    lines: list[str] = []
    report = erase(full_lake.lake, plan, full_lake.workspace.settings, NOW, lines.append)
    assert sorted(forgotten) == sorted(full_lake.traces_by_segment[each].segment_id for each in theirs)
    assert "2 notes deleted" in lines
    assert report.left_to_person[-1] == "burn the paper"


@pytest.mark.long
def test_an_erasure_keeps_the_split_of_every_group(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    withdraw(full_lake)
    before = read_groups(full_lake.lake, full_lake.snapshot)
    erase_all(full_lake)
    assert read_groups(full_lake.lake, load_latest_snapshot(full_lake.lake)) == before
    again = make_snapshot(full_lake.lake, full_lake.workspace.settings, full_lake.workspace.conventions)
    assert again.counts == load_latest_snapshot(full_lake.lake).counts
    assert read_groups(full_lake.lake, again) == before


def read_groups(lake: Lake, snapshot: Snapshot) -> dict[str, str]:
    found: dict[str, str] = lake.get_json(snapshot.ledger)["groups"]
    return found


@pytest.mark.long
def test_a_running_training_stops_an_erasure_and_the_next_run_completes_it(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    theirs = withdraw(full_lake)
    with (
        lock_work_folder(full_lake.workspace.settings.work_folder / "training" / "v2"),
        pytest.raises(TrainingError, match="is in use by training process"),
    ):
        erase_all(full_lake)
    assert erase_all(full_lake).segments == len(theirs)
    gone = [full_lake.traces_by_segment[each] for each in theirs]
    assert_nowhere(DirectoryStore(tmp_path / "lake"), [full_lake.workspace.settings.work_folder], gone)


@pytest.mark.long
def test_unfinished_trainings_on_the_voice_are_deleted_and_others_stay(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    withdraw(full_lake)
    lake, work = full_lake.lake, full_lake.workspace.settings.work_folder
    checkpoints = work / "training" / "v2" / "0123456789abcdef" / "checkpoints"
    affected, first_stage = make_identity(full_lake.snapshot.id), make_identity("")
    for identity in (affected, first_stage):
        checkpoint = checkpoints / "checkpoint-4"
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / "model.safetensors").write_text(f"weights on {identity.snapshot}")
        stamp_checkpoint(checkpoint, CheckpointStamp(identity=identity, step=4, elapsed_s=1.0, stopped=False))
        with hold_lease(lake, identity, "v2", None) as lease:
            tree = lake.put_tree(checkpoint)
            lease.store(StoredCheckpoint(step=4, tree=tree, best={4: tree}, remedies=Remedies()))
    stamp_checkpoint(checkpoint, CheckpointStamp(identity=affected, step=4, elapsed_s=1.0, stopped=False))
    with hold_lease(lake, affected, "v2", None), pytest.raises(TrainingError, match=r"process .* trains v2"):
        erase_all(full_lake)
    erase_all(full_lake)
    assert [each.identity for each in list_unfinished_trainings(lake)] == [first_stage]
    stored = [lake.get_bytes(each) for each in lake.list_object_ids()]
    weights = {data.decode() for data in stored if data.startswith(b"weights on")}
    assert weights == {"weights on "}, "those of the first stage, which used general speech only"
    assert not checkpoints.exists()


@pytest.mark.long
def test_erased_hours_leave_the_baseline_of_the_quality_check(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    save_baseline_hours(
        full_lake.lake, full_lake.snapshot, {day: load_corpus_day(full_lake.lake, day).hours for day in DAYS}
    )  # type: ignore[union-attr]
    withdraw(full_lake)
    erase_all(full_lake)
    known = load_baseline_hours(full_lake.lake)
    assert known == {day: load_corpus_day(full_lake.lake, day).hours for day in DAYS}  # type: ignore[union-attr]


@pytest.mark.long
def test_the_next_snapshot_counts_erased_and_removed_segments_separately(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    theirs = {full_lake.traces_by_segment[each].segment_id for each in withdraw(full_lake)}
    erased = {
        split: sum(each.segment_id in theirs for each in read_utterances(full_lake.lake, full_lake.snapshot, split))
        for split in OPEN_SPLITS
    }
    assert erased["train"] > 0
    assert erased["test"] > 0
    erase_all(full_lake)
    for _ in range(2):
        make_snapshot(full_lake.lake, full_lake.workspace.settings, full_lake.workspace.conventions)
        assert load_split_changes(full_lake.lake) == {split: SplitChange(0, 0, erased[split]) for split in OPEN_SPLITS}


@pytest.mark.long
def test_an_erased_segment_leaves_the_review_queue_and_its_records(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    theirs = {full_lake.traces_by_segment[each].segment_id for each in withdraw(full_lake)}
    before = load_queue(full_lake.lake)
    erase_all(full_lake)
    after = load_queue(full_lake.lake)
    assert before is not None
    assert after is not None
    assert after.items == tuple(each for each in before.items if each.segment_id not in theirs)
    assert len(after.items) < len(before.items)
    asked_again = {each.segment_id for each in after.items if each.is_sent_back}
    assert load_review_requests(full_lake.lake).keys() == asked_again != set()
    assert read_chosen_segments(full_lake.lake) == {each.segment_id for each in after.items} - asked_again


@pytest.mark.long
def test_a_page_that_cannot_be_rewritten_is_deleted_with_its_pointer(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    theirs = withdraw(full_lake)
    voice = full_lake.traces_by_segment[min(theirs)]
    page = full_lake.lake.put_bytes(f"<!doctype html><p>{voice.texts[0]}</p>".encode())
    full_lake.lake.move_pointer("quality/page", {"html": page}, None)
    orphan = full_lake.lake.put_bytes(f"# a report\n{escape_markdown(voice.texts[1])}\n".encode())
    erase_all(full_lake)
    assert full_lake.lake.read_pointer("quality/page") is None
    assert not {page, orphan} & set(full_lake.lake.list_object_ids())
