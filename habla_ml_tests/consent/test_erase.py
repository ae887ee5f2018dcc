"""After an erasure the voice and the text are nowhere, and everybody else's are all still there."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from habla_ml.annotation import collect_events, load_events, read_events
from habla_ml.annotation.log import append_events
from habla_ml.annotation.review import chosen_segments, load_queue, sendings_back
from habla_ml.consent.erase import ErasureReport, erase, plan_erasure
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.build import build_day, load_corpus
from habla_ml.corpus.export import export_dataset
from habla_ml.corpus.quality import keep_good_hours, load_good_hours
from habla_ml.corpus.snapshot import SPLITS, Snapshot, latest_snapshot, load_snapshot, read_utterances
from habla_ml.corpus.splits import Change, load_changes, make_snapshot
from habla_ml.errors import TrainingError
from habla_ml.evaluation.evidence import stored_comparison
from habla_ml.evaluation.report.markdown import escape
from habla_ml.lake import DirectoryStore, Lake, S3Store, Store, sha256_of
from habla_ml.lake.catalogue import TOMBSTONES
from habla_ml.recordings import ingest_day, load_day
from habla_ml.settings import Settings
from habla_ml.training.plan import read_plan
from habla_ml.training.train import exclusive
from habla_ml_tests.consent.lived_in import (
    DAYS,
    ENROLLED,
    LivedIn,
    Voice,
    contributor_in,
    everything_in,
    live_in,
    sessions,
    state,
    traces,
    typed,
    write_register,
)
from habla_ml_tests.lake.conftest import BUCKET, new_client, s3_endpoint
from habla_ml_tests.recordings.world import NOW, write_corrections, write_session

__all__ = ["s3_endpoint"]


def splits_of(lived: LivedIn, split: str) -> list[str]:
    return sorted({each.session_id for each in read_utterances(lived.lake, lived.snapshot, split)})


def withdraw(lived: LivedIn) -> set[tuple[str, int]]:
    """One training session, the first segment of every test session, and an enrolled name; what these are."""
    trained, tested = splits_of(lived, "train")[0], splits_of(lived, "test")
    theirs = {each for each in lived.voices if each[0] == trained}
    theirs |= {(name, 1) for name in tested}
    theirs |= {(name, 4) for name in sessions() if name.startswith("clase10")}
    entry = {
        "contributor": "c-017",
        "given": "2026-01-01",
        "withdrawn": "2026-05-01",
        "sessions": [trained],
        "segments": [lived.voices[name, 1].segment_id for name in tested],
        "speakers": [{"label": ENROLLED}],
    }
    write_register(lived.world, entry)
    return theirs


def erase_all(lived: LivedIn, settings: Settings | None = None) -> ErasureReport:
    settings = settings or lived.world.settings
    return erase(lived.lake, plan_erasure(lived.lake, contributor_in(lived.world), settings, NOW), settings, NOW)


def assert_nowhere(store: Store, folders: list[Path], voices: list[Voice]) -> None:
    tombstones = {f"objects/{each[:2]}/{each}" for each in (_tombstones_object(store),)}
    wanted = [(voice, trace) for voice in voices for trace in traces(voice)]
    for name, data in everything_in(store, folders):
        for voice, trace in wanted:
            assert trace not in data, f"{trace[:60]!r} of {voice.segment_id} is still in {name}"
        assert ENROLLED.encode() not in data, name
        if name not in tombstones:
            assert not any(voice.sound.encode() in data for voice in voices), f"a sound is still named in {name}"


def _tombstones_object(store: Store) -> str:
    return str(Lake(store, Path("unused")).pointer(TOMBSTONES).value["tombstones"])  # type: ignore[union-attr]


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def lived(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[LivedIn, Store]:
    if request.param == "folder":
        return live_in(tmp_path), DirectoryStore(tmp_path / "lake")
    endpoint, prefix = request.getfixturevalue("s3_endpoint"), f"erase/{uuid.uuid4().hex}"
    store = S3Store(new_client(endpoint), BUCKET, prefix)
    return live_in(tmp_path, lambda world: Lake(store, world.settings.work_folder / "cache")), store


def test_no_byte_of_voice_or_text_is_left_and_everybody_else_is_there(
    lived: tuple[LivedIn, Store], tmp_path: Path
) -> None:
    world, store = lived
    theirs = withdraw(world)
    work = world.world.settings.work_folder
    gone = [world.voices[each] for each in sorted(theirs)]
    found = b"\n".join(data for _, data in everything_in(store, [work]))
    assert all(any(trace in found for trace in traces(voice)) for voice in gone)

    report = erase_all(world)

    assert_nowhere(store, [work], gone)
    assert report.segments == len(theirs)
    assert report.hours == pytest.approx(len(theirs) * 0.4 / 3600)
    assert report.heard == ("v1", "v2")
    assert report.tested == ("v1", "v2")
    snapshot = latest_snapshot(world.lake)
    left = {
        each.segment_id: each.sentence for split in SPLITS for each in read_utterances(world.lake, snapshot, split)
    }
    kept = {world.voices[name].segment_id: typed(*name) for name in world.voices.keys() - theirs}
    assert left == kept
    assert sum(snapshot.counts.values()) == len(kept)
    assert sum(snapshot.hours.values()) == pytest.approx(len(kept) * 0.4 / 3600)
    export_dataset(world.lake, snapshot, tmp_path / "export")
    assert_nowhere(store, [work, tmp_path / "export"], gone)


def test_versions_that_heard_the_voice_are_remembered_without_its_name(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    withdraw(lived)
    erase_all(lived)
    (remembered,) = read_tombstones(lived.lake).of("c-017")
    assert remembered.heard == ("v1", "v2")
    body = lived.lake.get_bytes(lived.lake.pointer(TOMBSTONES).value["tombstones"])  # type: ignore[union-attr]
    assert b"c-017" not in body


def test_erasing_twice_changes_nothing_and_counts_once(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    theirs = withdraw(lived)
    first = erase_all(lived)
    before = state(lived.lake)
    second = erase_all(lived)
    assert state(lived.lake) == before
    assert (second.segments, second.hours, second.heard) == (first.segments, first.hours, first.heard)
    assert second.segments == len(theirs)
    assert (second.pointers, second.objects) == ((), 0)


def test_what_others_said_keeps_its_pointers_totals(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    theirs = withdraw(lived)
    erase_all(lived)
    for day in DAYS:
        left = [name for name in lived.voices if day.replace("-", "") in name[0] and name not in theirs]
        held, events, text = load_day(lived.lake, day), load_events(lived.lake, day), load_corpus(lived.lake, day)
        assert held is not None
        assert events is not None
        assert text is not None
        assert (held.segments, events.events) == (len(left), len(left))
        assert held.sessions == len({name for name, _ in left})
        assert held.hours == pytest.approx(len(left) * 0.4 / 3600)
        assert (text.counts["segments"], text.counts["annotated"]) == (len(left), len(left))
        assert (text.recordings, text.facts, text.annotations) == (held.parquet, held.facts, events.parquet)


def test_nothing_comes_back_by_ingest_corrections_or_another_name(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    theirs = withdraw(lived)
    gone = [lived.voices[each] for each in sorted(theirs)]
    session, _ = min(theirs)
    old = [event for day in DAYS for event in read_events(lived.lake, load_events(lived.lake, day))]  # type: ignore[arg-type]
    erase_all(lived)
    # Restored from a backup with other times, corrected again, and the same sound under a new session's name.
    world = lived.world
    for name in sessions():
        (world.recordings / name / "metadata.json").touch()
        write_corrections(
            world.recordings / name, {n: typed(name, n) for n in range(1, 5)}, at="2026-06-01T09:00:00"
        )
    copy = write_session(world.recordings, f"copia_{DAYS[0].replace('-', '')}_150000", 4, seed=0)
    for path in copy.glob("*.wav"):
        path.write_bytes((world.recordings / session / path.name).read_bytes())
    write_corrections(copy, {n: typed(session, n) for n in range(1, 5)})
    bare = replace_registry(world.settings)
    for day in DAYS:
        append_events(lived.lake, day, [replace(each, person="otra") for each in old if each.day == day], {})
        ingest_day(world.recordings, day, lived.lake, bare, NOW)
        collect_events(world.recordings, day, lived.lake, bare, NOW)
        build_day(lived.lake, day, world.conventions, bare)
    snapshot = make_snapshot(lived.lake, bare, world.conventions)
    erased = {voice.segment_id for voice in gone}
    assert not any(
        each.segment_id in erased for split in SPLITS for each in read_utterances(lived.lake, snapshot, split)
    )
    reingested = {each.session_id for split in SPLITS for each in read_utterances(lived.lake, snapshot, split)}
    assert copy.name not in reingested
    for name, data in everything_in(DirectoryStore(tmp_path / "lake"), []):
        for voice in gone:
            assert voice.pcm not in data, name
            assert not any(text.encode() in data for text in voice.texts), name


def replace_registry(settings: Settings) -> Settings:
    """The same deployment after somebody lost the register: the tombstones alone must hold."""
    return settings.model_copy(update={"consent": settings.consent.model_copy(update={"registry": None})})


def test_a_withdrawn_consent_keeps_a_session_out_at_ingest(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    name = f"nueva_{DAYS[0].replace('-', '')}_160000"
    write_session(lived.world.recordings, name, 2)
    write_register(
        lived.world, {"contributor": "c-1", "given": "2026-01-01", "withdrawn": "2026-02-01", "sessions": [name]}
    )
    day = ingest_day(lived.world.recordings, DAYS[0], lived.lake, lived.world.settings, NOW)
    assert {each.file for each in day.set_aside if each.session == name} == {"segment_001.wav", "segment_002.wav"}
    assert "withdrawn on 2026-02-01" in next(each.reason for each in day.set_aside if each.session == name)


def test_a_minor_without_a_guardian_is_kept_out(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    name = f"nueva_{DAYS[0].replace('-', '')}_160000"
    write_session(lived.world.recordings, name, 1)
    write_register(lived.world, {"contributor": "c-1", "given": "2026-01-01", "minor": True, "sessions": [name]})
    day = ingest_day(lived.world.recordings, DAYS[0], lived.lake, lived.world.settings, NOW)
    (reason,) = [each.reason for each in day.set_aside if each.session == name]
    assert "no guardian has consented" in reason


def test_the_report_keeps_its_rates_and_a_version_its_plan(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    withdraw(lived)
    before = stored_comparison(lived.lake, "v2")
    erase_all(lived)
    after = stored_comparison(lived.lake, "v2")
    assert after.models == before.models
    assert after.test == before.test
    assert len(after.examples) < len(before.examples)
    plan = load_snapshot(lived.lake, read_plan(lived.lake, "v1").snapshot)
    assert plan.counts == latest_snapshot(lived.lake).counts
    page = (lived.world.settings.work_folder / "reports" / "v2" / "report.html").read_text("utf-8")
    assert all(each.reference in page for each in after.examples)
    held = lived.lake.pointer("models/v2/report")
    assert held is not None
    for name in ("utterances", "word_errors"):
        beside = lived.world.settings.work_folder / "reports" / "v2" / f"{name}.parquet"
        assert sha256_of(beside) == held.value[name]
        sessions = {row["session_id"] for row in pq.read_table(beside).to_pylist()}
        assert sessions == {
            each.session_id for each in read_utterances(lived.lake, latest_snapshot(lived.lake), "test")
        }


def test_label_studio_is_told_which_segments_to_forget(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    theirs = withdraw(lived)
    told: list[str] = []

    def forget(segments) -> int:
        told.extend(segments)
        return len(told)

    plan = plan_erasure(lived.lake, contributor_in(lived.world), lived.world.settings, NOW)
    report = erase(lived.lake, plan, lived.world.settings, NOW, forget_tasks=forget)
    assert sorted(told) == sorted(lived.voices[each].segment_id for each in theirs)
    assert report.tasks == len(theirs)


def test_a_group_never_moves_and_no_split_gains(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    withdraw(lived)
    before = groups(lived.lake, lived.snapshot)
    erase_all(lived)
    assert groups(lived.lake, latest_snapshot(lived.lake)) == before
    again = make_snapshot(lived.lake, lived.world.settings, lived.world.conventions)
    assert again.counts == latest_snapshot(lived.lake).counts
    assert groups(lived.lake, again) == before


def groups(lake: Lake, snapshot: Snapshot) -> dict[str, str]:
    found: dict[str, str] = lake.get_json(snapshot.ledger)["groups"]
    return found


def test_a_session_whose_consent_arrives_later_is_read_by_itself(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    name = f"nueva_{DAYS[0].replace('-', '')}_160000"
    write_session(lived.world.recordings, name, 2)
    write_register(lived.world, {"contributor": "c-1", "sessions": [name]})
    before = ingest_day(lived.world.recordings, DAYS[0], lived.lake, lived.world.settings, NOW)
    write_register(lived.world, {"contributor": "c-1", "given": "2026-01-01", "sessions": [name]})
    after = ingest_day(lived.world.recordings, DAYS[0], lived.lake, lived.world.settings, NOW)
    assert after.segments == before.segments + 2
    assert after.read_sessions == (name,)
    assert read_tombstones(lived.lake).segments == frozenset()


def test_a_stream_that_holds_a_withheld_voice_is_not_archived(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    name = f"nueva_{DAYS[0].replace('-', '')}_160000"
    folder = write_session(lived.world.recordings, name, 2, entries={2: {"speaker": "Remedios"}})
    (folder / "raw_stream.webm").write_bytes(b"everybody's voice")
    write_register(lived.world, {"contributor": "c-1", "speakers": [{"label": "Remedios"}]})
    ingest_day(lived.world.recordings, DAYS[0], lived.lake, lived.world.settings, NOW)
    held = load_day(lived.lake, DAYS[0])
    assert held is not None
    assert name in held.inputs
    assert name not in held.raw_streams
    assert len(held.raw_streams) == 3


def test_a_running_training_is_named_and_the_next_run_finishes(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    theirs = withdraw(lived)
    with (
        exclusive(lived.world.settings.work_folder / "training" / "v2"),
        pytest.raises(TrainingError, match="trains"),
    ):
        erase_all(lived)
    assert erase_all(lived).segments == len(theirs)
    gone = [lived.voices[each] for each in theirs]
    assert_nowhere(DirectoryStore(tmp_path / "lake"), [lived.world.settings.work_folder], gone)


def test_hours_that_were_erased_are_not_missed_later(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    keep_good_hours(lived.lake, lived.snapshot, {day: load_corpus(lived.lake, day).hours for day in DAYS})  # type: ignore[union-attr]
    withdraw(lived)
    erase_all(lived)
    known = load_good_hours(lived.lake)
    assert known == {day: load_corpus(lived.lake, day).hours for day in DAYS}  # type: ignore[union-attr]


def test_the_next_snapshot_tells_what_was_erased_from_what_left_by_itself(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    theirs = {lived.voices[each].segment_id for each in withdraw(lived)}
    erased = {
        split: sum(each.segment_id in theirs for each in read_utterances(lived.lake, lived.snapshot, split))
        for split in SPLITS
    }
    assert erased["train"] > 0
    assert erased["test"] > 0
    erase_all(lived)
    for _ in range(2):
        make_snapshot(lived.lake, lived.world.settings, lived.world.conventions)
        assert load_changes(lived.lake) == {split: Change(0, 0, erased[split]) for split in SPLITS}


def test_an_erased_segment_leaves_the_review_queue_and_what_it_remembers(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    theirs = {lived.voices[each].segment_id for each in withdraw(lived)}
    before = load_queue(lived.lake)
    erase_all(lived)
    after = load_queue(lived.lake)
    assert before is not None
    assert after is not None
    assert after.items == tuple(each for each in before.items if each.segment_id not in theirs)
    assert len(after.items) < len(before.items)
    asked_again = {each.segment_id for each in after.items if each.is_sent_back}
    assert sendings_back(lived.lake).keys() == asked_again != set()
    assert chosen_segments(lived.lake) == {each.segment_id for each in after.items} - asked_again


def test_a_page_in_the_lake_that_cannot_be_rewritten_goes_with_its_pointer(tmp_path: Path) -> None:
    lived = live_in(tmp_path)
    theirs = withdraw(lived)
    voice = lived.voices[min(theirs)]
    page = lived.lake.put_bytes(f"<!doctype html><p>{voice.texts[0]}</p>".encode())
    lived.lake.move_pointer("quality/page", {"html": page}, None)
    orphan = lived.lake.put_bytes(f"# a report\n{escape(voice.texts[1])}\n".encode())
    erase_all(lived)
    assert lived.lake.pointer("quality/page") is None
    assert not {page, orphan} & set(lived.lake.object_ids())
