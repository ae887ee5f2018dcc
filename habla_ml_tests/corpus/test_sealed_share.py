"""A part of the new test sessions is sealed for the release: permanently, and out of reach of every other stage."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import habla_ml
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.export import export_nemo
from habla_ml.corpus.snapshot import Snapshot, Split, load_snapshot, read_sealed_utterances, read_utterances
from habla_ml.corpus.split_assignment import assign_splits, choose_sealed_groups
from habla_ml.corpus.split_ledger import find_sealed_sessions, load_ledger
from habla_ml.corpus.splits import describe_balance, make_snapshot
from habla_ml.errors import CorpusError
from habla_ml.evaluation.comparison.test_speech import exclude_sealed, load_test_speech
from habla_ml.lake import Lake
from habla_ml.settings import Settings, SplitSettings
from habla_ml_tests.testing.habla_sessions import V1, make_workspace
from habla_ml_tests.testing.text_corpora import (
    AnnotatedSegmentSpec,
    create_empty_lake,
    read_splits,
    write_corpus_day,
)
from habla_ml_tests.testing.training_snapshot import TrainingClipSpec, publish_snapshot

CONVENTIONS = load_conventions(V1)
SHARES = SplitSettings(test=0.5)
READERS_OF_SEALED_SPEECH = {"corpus/snapshot.py", "release/sealed.py"}


def ledger_of(lake: Lake) -> dict[str, Split]:
    return dict(load_ledger(lake, lake.read_pointer("splits/ledger")).groups)


def write_sessions(lake: Lake, day: str, numbers: range) -> None:
    write_corpus_day(lake, day, [AnnotatedSegmentSpec(f"s{n:03d}", k) for n in numbers for k in (1, 2)], CONVENTIONS)


def make_settings(root: Path) -> Settings:
    return make_workspace(root, splits={"test": 0.4, "sealed_from_sessions": 8}).settings


def grow(hours: dict[str, float], ledger: dict[str, Split], settings: SplitSettings) -> dict[str, Split]:
    assigned = assign_splits(hours, ledger, settings)
    sealed = choose_sealed_groups(assigned, ledger, dict.fromkeys(hours, 1), settings)
    return {**assigned, **dict.fromkeys(sealed, "sealed")}


def test_the_first_test_sessions_stay_open_and_a_share_of_the_later_ones_is_sealed() -> None:
    hours: dict[str, float] = {}
    ledger: dict[str, Split] = {}
    for n in range(1000):
        hours[f"s{n:04d}"] = 1.0
        ledger = grow(hours, ledger, SHARES)
        held_out = [split for split in ledger.values() if split in ("test", "sealed")]
        assert len(held_out) > 20 or "sealed" not in held_out
    assert (held_out[:20], len(held_out)) == (["test"] * 20, pytest.approx(500, abs=20))
    # Standard deviation of a share of 0.3 of 480 sessions: 2.1 %.
    assert held_out.count("sealed") / (len(held_out) - 20) == pytest.approx(0.3, abs=0.06)


def test_sessions_of_one_import_count_one_after_the_other() -> None:
    hours = {f"s{n:03d}": 1.0 for n in range(200)}
    assigned = assign_splits(hours, {}, SHARES)
    always = SplitSettings(test=0.5, sealed_share=1.0)
    sealed = choose_sealed_groups(assigned, {}, dict.fromkeys(hours, 1), always)
    assert len(sealed) == sum(split == "test" for split in assigned.values()) - 20
    assert not choose_sealed_groups(assigned, {}, dict.fromkeys(hours, 1), SplitSettings(test=0.5, sealed_share=0))


def test_sealed_sessions_count_for_the_size_from_which_more_are_sealed() -> None:
    ledger: dict[str, Split] = {f"old{n}": "test" if n % 2 else "sealed" for n in range(20)}
    assigned: dict[str, Split] = {**ledger, "new": "test", "later": "train"}
    sessions, always = dict.fromkeys(assigned, 1), SplitSettings(sealed_share=1.0, sealed_from_sessions=20)
    assert choose_sealed_groups(assigned, ledger, sessions, always) == {"new"}
    assert not choose_sealed_groups(assigned, ledger, {**sessions, "old0": 0}, always)


@pytest.mark.long
def test_a_sealed_session_stays_sealed_and_leaves_no_gap_in_the_test_share(tmp_path: Path) -> None:
    lake, settings = create_empty_lake(tmp_path), make_settings(tmp_path)
    write_sessions(lake, "2026-02-16", range(20))
    first = make_snapshot(lake, settings, CONVENTIONS)
    assert "sealed" not in {*ledger_of(lake).values(), *first.counts, *first.hours}
    write_sessions(lake, "2026-02-17", range(20, 80))
    second = make_snapshot(lake, settings, CONVENTIONS)
    sealed = find_sealed_sessions(lake)
    assert 3 <= len(sealed) <= 15
    assert second.counts["sealed"] == 2 * len(sealed)
    assert {
        name.partition("/")[0] for name, (split, _) in read_splits(lake, second.segments).items() if split == "sealed"
    } == sealed
    assert second.counts["sealed"] + second.counts["test"] == pytest.approx(0.4 * 160, abs=4)
    assert describe_balance(lake, second, settings.splits) == "within a point of the shares"
    write_sessions(lake, "2026-02-18", range(80, 90))
    make_snapshot(lake, settings, CONVENTIONS)
    assert sealed <= find_sealed_sessions(lake)
    assert {name: split for name, split in ledger_of(lake).items() if name < "s020"} == {
        name.partition("/")[0]: split for name, (split, _) in read_splits(lake, first.segments).items()
    }


def test_a_ledger_from_before_the_sealed_share_keeps_its_splits(tmp_path: Path) -> None:
    lake, settings = create_empty_lake(tmp_path), make_settings(tmp_path)
    old = {f"s{n:03d}": ("test" if n < 10 else "validation" if n < 20 else "train") for n in range(30)}
    body = {"format": "habla_ml.split_ledger/1", "groups": old, "pinned_audio": {}}
    lake.move_pointer("splits/ledger", {"ledger": lake.put_json(body)}, None)
    write_sessions(lake, "2026-02-16", range(60))
    make_snapshot(lake, settings, CONVENTIONS)
    assert {name: split for name, split in ledger_of(lake).items() if name in old} == old
    assert find_sealed_sessions(lake)


def test_a_ledger_of_a_later_version_is_refused(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    body = {"format": "habla_ml.split_ledger/9", "groups": {}, "pinned_audio": {}}
    lake.move_pointer("splits/ledger", {"ledger": lake.put_json(body)}, None)
    with pytest.raises(CorpusError, match=r"split_ledger/9.*install the version that wrote it"):
        find_sealed_sessions(lake)


def make_sealed_snapshot(lake: Lake) -> Snapshot:
    splits: tuple[Split, ...] = ("train", "validation", "test", "sealed")
    clips = [
        TrainingClipSpec(f"{split}-{n}", split, "gracias, profe", 1.0 + n / 10) for split in splits for n in (0, 1)
    ]
    return publish_snapshot(lake, clips)


def test_sealed_speech_is_read_under_its_own_name_only(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    snapshot = make_sealed_snapshot(lake)
    assert sorted(each.segment_id for each in read_sealed_utterances(lake, snapshot)) == ["sealed-0", "sealed-1"]
    with pytest.raises(CorpusError, match="only a release reads sealed speech"):
        next(iter(read_utterances(lake, snapshot, "sealed")))  # type: ignore[arg-type]


def test_an_export_has_no_sealed_speech(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    snapshot = load_snapshot(lake, make_sealed_snapshot(lake).id)
    folder = export_nemo(lake, snapshot, tmp_path / "out")
    assert sorted(each.name for each in folder.iterdir()) == [
        "audio", "test_manifest.json", "train_manifest.json", "validation_manifest.json",
    ]  # fmt: skip
    assert not [each for each in folder.rglob("*") if "sealed" in each.name]


def test_no_comparison_reads_sealed_speech_from_the_test_set_a_day_or_a_table(tmp_path: Path) -> None:
    lake, settings = create_empty_lake(tmp_path), make_settings(tmp_path)
    snapshot = make_sealed_snapshot(lake)
    everything = [*read_sealed_utterances(lake, snapshot), *read_utterances(lake, snapshot, "test")]
    assert exclude_sealed(lake, everything) == tuple(everything)  # nothing is published yet
    lake.move_pointer("splits/latest", {"snapshot": snapshot.id}, None)
    found = {
        on: {each.segment_id.partition("-")[0] for each in load_test_speech(on, lake, settings).read()}
        for on in ("test", *snapshot.recordings)
    }
    assert load_test_speech("test", lake, settings).warning == ""
    assert all(
        "trained on parts of this day" in load_test_speech(day, lake, settings).warning for day in snapshot.recordings
    )
    of_day = {"train", "validation", "test"}
    assert found == {"test": {"test"}, **dict.fromkeys(snapshot.recordings, of_day)}
    assert {each.segment_id for each in exclude_sealed(lake, everything)} == {"test-0", "test-1"}


@pytest.mark.long
def test_only_the_release_reads_sealed_utterances() -> None:
    package = Path(habla_ml.__file__).parent
    readers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(
            (isinstance(node, ast.ImportFrom) and "read_sealed_utterances" in {each.name for each in node.names})
            or (isinstance(node, ast.FunctionDef) and node.name == "read_sealed_utterances")
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
        )
    }
    assert readers == READERS_OF_SEALED_SPEECH
