"""A person in every spelling of the name: the same admission, and the same erasure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from habla_ml.annotation.consent_filter import open_consent_filter
from habla_ml.consent.admission import load_consents
from habla_ml.consent.register import Contributor, Voice
from habla_ml.consent.tombstones import read_tombstones
from habla_ml.corpus.build import build_day
from habla_ml.corpus.splits import load_ledger, make_snapshot
from habla_ml.erasure.contributor_data import find_contributor_data
from habla_ml.erasure.matcher import ErasureMatcher, make_alias
from habla_ml.evaluation.comparison.version_scores import VersionScore
from habla_ml.evaluation.scoring.alignment import ErrorCounts
from habla_ml.lake import catalogue
from habla_ml.names import canonical_name
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml_tests.testing.habla_sessions import (
    NOW,
    HablaWorkspace,
    ingest_into,
    make_workspace,
    set_age,
    write_session,
)
from habla_ml_tests.testing.pending_consents import GIVEN, register
from habla_ml_tests.testing.spellings import respell
from habla_ml_tests.testing.transcript_tables import SAVED_DAY, import_table_file, read_segments, write_transcript_csv

DAY, SESSION = "2026-02-16", "clase_20260216_100000"
LABELS = respell("Lucía Peña")
WITHDRAWN = {"contributor": "c-1", "given": GIVEN, "withdrawn": "2026-05-01", "speakers": [{"label": LABELS[0]}]}


def make_class(root: Path, *entries: Mapping[str, object]) -> HablaWorkspace:
    """A session in which one more segment is of another speaker, and the register with these entries."""
    (root / "consents.yaml").touch()
    workspace = make_workspace(root, consent={"registry": str(root / "consents.yaml")})
    register(workspace, *entries)
    spoken = {number: {"speaker": label} for number, label in enumerate([*LABELS, "Paco"], start=1)}
    set_age(write_session(workspace.recordings, SESSION, len(spoken), entries=spoken), 24)
    return workspace


def test_a_withdrawn_voice_is_not_ingested_in_any_spelling(tmp_path: Path) -> None:
    workspace = make_class(tmp_path, WITHDRAWN)
    ingest_into(workspace, DAY)
    assert [row["speaker"] for row in read_segments(workspace, DAY)] == ["Paco"]
    files = [f"segment_{number:03d}.wav" for number in range(1, len(LABELS) + 1)]
    refused = {segment_id(HABLA_SOURCE, SESSION, name) for name in files}
    assert read_tombstones(workspace.lake).segments == refused


def test_a_withdrawn_voice_wins_over_a_consent_in_another_spelling(tmp_path: Path) -> None:
    given = [
        {"contributor": f"c-{n}", "given": GIVEN, "speakers": [{"label": each}]} for n, each in enumerate(LABELS, 2)
    ]
    workspace = make_class(tmp_path, *given, WITHDRAWN)
    ingest_into(workspace, DAY)
    assert [row["speaker"] for row in read_segments(workspace, DAY)] == ["Paco"]


def test_a_withdrawn_voice_of_a_table_is_not_imported_in_any_spelling(tmp_path: Path) -> None:
    workspace = make_class(tmp_path, WITHDRAWN, {"contributor": "paco", "given": GIVEN})
    folder = tmp_path / "table" / "clips"
    write_session(tmp_path / "table", "clips", len(LABELS) + 1, metadata=False)
    rows = [
        {"audio_path": f"clips/segment_{number:03d}.wav", "transcript": "hola", "speaker": label}
        for number, label in enumerate([*LABELS, "PACO"], start=1)
    ]
    import_table_file(workspace, write_transcript_csv(folder.parent, rows, ["speaker"]))
    held = [row["speaker"] for row in read_segments(workspace, SAVED_DAY)]
    assert held == ["PACO"]


def test_an_annotation_is_withheld_by_every_spelling_and_a_blank_label_names_no_person(tmp_path: Path) -> None:
    awaited = {"contributor": "c-1", "speakers": [{"label": LABELS[0]}]}
    workspace = make_class(tmp_path, awaited)
    ingest_into(workspace, DAY)
    consent_filter = open_consent_filter(workspace.lake, load_consents(workspace.settings, NOW))
    refusals = {
        label: consent_filter.explain_refusal(DAY, SESSION, "x", [label]) for label in [*LABELS, "\u00a0", "Paco"]
    }
    assert [label for label, reason in refusals.items() if reason is None] == ["Paco"]


def test_an_erasure_finds_every_spelling_in_a_lake_of_an_earlier_version(tmp_path: Path) -> None:
    workspace = make_class(tmp_path)
    ingest_into(workspace, DAY)
    assert len(read_segments(workspace, DAY)) == len(LABELS) + 1
    for contributor in (
        Contributor(contributor="c-1", speakers=(Voice(label="LUCÍA  peña"),)),
        Contributor(contributor="lucía peña"),
        Contributor(contributor="c-2", sessions=("CLASE*",), speakers=(Voice(label="nadie"),)),
    ):
        found = find_contributor_data(workspace.lake, contributor)
        assert len(found.segments) == len(LABELS) + bool(contributor.sessions)


def test_an_erasure_replaces_every_spelling_of_the_name_in_json() -> None:
    matcher = ErasureMatcher(frozenset(), frozenset(), frozenset({canonical_name("Lucía Peña")}))
    items = [{"speaker": each} for each in (*LABELS, "Paco")]
    slices = [{"dimension": "speaker", "name": each} for each in LABELS]
    aliases = [make_alias(each) for each in LABELS]
    before = {"people": dict.fromkeys(LABELS, "test"), "items": items, "slices": slices}
    assert matcher.clean_json(before, str) == {
        "people": dict.fromkeys(aliases, "test"),
        "items": [{"speaker": each} for each in (*aliases, "Paco")],
        "slices": [{"dimension": "speaker", "name": each} for each in aliases],
    }


@pytest.mark.parametrize("unit", ["speaker", "session"])
def test_an_erasure_replaces_the_names_in_snapshots_and_in_scores_by_speaker(unit: str) -> None:
    matcher = ErasureMatcher(frozenset(), frozenset(), frozenset({canonical_name("Lucía Peña")}))
    errors = ErrorCounts(hits=9, substitutions=1)
    counts = {LABELS[0]: errors, "Paco": errors}
    score = VersionScore(name="v1", artefact_digest="a", interval=None, counts=counts).model_dump(mode="json")
    before = {"in_several_splits": [LABELS[0], "Paco"], "method": {"unit": unit}, "versions": [score]}
    after = matcher.clean_json(before, str)
    alias = make_alias(LABELS[0])
    assert after["in_several_splits"] == [alias, "Paco"]
    assert list(after["versions"][0]["counts"]) == [alias if unit == "speaker" else LABELS[0], "Paco"]


@pytest.mark.parametrize("name", ["test", "parquet", "v1", "speaker", "people"])
def test_an_erasure_leaves_words_of_the_formats_that_are_equal_to_a_name(name: str) -> None:
    matcher = ErasureMatcher(frozenset(), frozenset(), frozenset({name}))
    counts = {"train": 4, "test": 2, "parquet": "v1", "speaker": 1, "model": {"name": "v1", "people": ["people"]}}
    before = {**counts, "people": {"Paco": "test"}, "slices": [{"dimension": "source", "name": name}]}
    assert matcher.clean_json(before, str) == before


def test_one_child_of_a_table_in_many_spellings_is_one_group_of_the_split(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, corpus={"slowest_chars_per_s": 0.0, "fastest_chars_per_s": 1000.0})
    speakers = [*LABELS, *(f"niño {number}" for number in range(20))]
    write_session(tmp_path / "table", "clips", len(speakers), metadata=False)
    rows = [
        {"audio_path": f"clips/segment_{number:03d}.wav", "transcript": "hola", "speaker": speaker}
        for number, speaker in enumerate(speakers, start=1)
    ]
    import_table_file(workspace, write_transcript_csv(tmp_path / "table", rows, ["speaker"]))
    build_day(workspace.lake, SAVED_DAY, workspace.conventions, workspace.settings)
    make_snapshot(workspace.lake, workspace.settings, workspace.conventions)
    groups = load_ledger(workspace.lake, workspace.lake.read_pointer(catalogue.SPLIT_LEDGER)).groups
    mine = {session: split for session, split in groups.items() if canonical_name(session).endswith("lucía peña")}
    assert len(mine) == len(LABELS)
    assert len(set(mine.values())) == 1
    assert set(groups.values()) == {"train", "validation", "test"}
