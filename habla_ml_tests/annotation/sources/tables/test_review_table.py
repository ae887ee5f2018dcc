"""The review queue as tables: written, filled in by two people, and read again."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from habla_ml.annotation.event_log import load_events, read_events
from habla_ml.annotation.review_queue import ReviewItem, load_blind_requests, save_queue
from habla_ml.annotation.sources.tables.review_table import write_review_tables
from habla_ml.annotation.sources.tables.table_import import import_table
from habla_ml.errors import InputError
from habla_ml.recordings.segments import HABLA_SOURCE, segment_id
from habla_ml.review.listing import format_csv, list_segments
from habla_ml_tests.testing.habla_sessions import DAY, NOW, A, HablaWorkspace, ingest_into, write_session


def make_item(number: int, hint: str, people: int) -> ReviewItem:
    identity = segment_id(HABLA_SOURCE, A, f"segment_{number:03d}.wav")
    version = "v2" if hint else ""
    return ReviewItem(
        identity, A, DAY, "Ana", 0.4, hint, version, 0.0, ("random: x",), bool(people), blind_people=people
    )


def fill_in(folder: Path, texts: dict[str, dict[str, str]]) -> None:
    """Type into the rows of the named segments, as a person does in a spreadsheet."""
    path = folder / "fine_tune_dataset.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))  # as Excel in Spanish reads it
    assert all(not row["transcript"] for row in rows)
    for row in rows:
        row.update(texts.get(Path(row["audio_path"]).stem, {}))
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def test_a_table_of_the_queue_is_blind_where_the_queue_is(workspace: HablaWorkspace, tmp_path: Path) -> None:
    write_session(workspace.recordings, A, 4)
    ingest_into(workspace)
    items = [make_item(1, "", 2), make_item(2, "", 1), make_item(3, "de la máquina", 0), make_item(4, "", 1)]
    save_queue(workspace.lake, items, datetime(2026, 2, 17, tzinfo=UTC))
    folder = tmp_path / "queue"
    assert write_review_tables(workspace.lake, items, ["ana", "eva"], folder) == {"ana": 4, "eva": 1}
    first, second, third, _ = (each.segment_id for each in items)
    typed = {
        first: {"transcript": "lo que oye ana"},
        second: {"status": "unusable", "reason": "no_speech"},
        third: {"transcript": "corregido"},
    }
    fill_in(folder / "ana", typed)
    fill_in(folder / "eva", {first: {"transcript": "lo que oye eva"}})
    reports = [import_table(folder / person, workspace.lake, workspace.settings, NOW) for person in ("ana", "eva")]
    assert [each.added for each in reports] == [3, 1]
    assert [each.reason for each in reports[0].skipped_inputs] == ["has 1 rows that wait for a transcript"]
    log = load_events(workspace.lake, DAY)
    assert log is not None
    found = {(each.segment_id, each.person): each for each in read_events(workspace.lake, log)}
    assert {key: (each.text, each.status, each.is_blind) for key, each in found.items()} == {
        (first, "ana"): ("lo que oye ana", "corrected", True),
        (first, "eva"): ("lo que oye eva", "corrected", True),
        (second, "ana"): ("", "unusable", True),
        (third, "ana"): ("corregido", "corrected", False),
    }
    assert (found[third, "ana"].seen_text, found[third, "ana"].model_version) == ("de la máquina", "v2")


def test_a_row_with_another_key_or_a_hint_is_not_blind(workspace: HablaWorkspace, tmp_path: Path) -> None:
    write_session(workspace.recordings, A, 3)
    ingest_into(workspace)
    items = [make_item(number, "", 1) for number in (1, 2, 3)]
    save_queue(workspace.lake, items, datetime(2026, 2, 17, tzinfo=UTC))
    write_review_tables(workspace.lake, items, ["ana"], tmp_path / "queue")
    wrong = [{"task": "0123456789abcdef"}, {"hint": "texto"}, {"task": ""}]
    typed = {each.segment_id: {"transcript": "hola", **more} for each, more in zip(items, wrong, strict=True)}
    fill_in(tmp_path / "queue" / "ana", typed)
    import_table(tmp_path / "queue" / "ana", workspace.lake, workspace.settings, NOW)
    log = load_events(workspace.lake, DAY)
    assert log is not None
    found = {each.segment_id: each.is_blind for each in read_events(workspace.lake, log)}
    assert [found[each.segment_id] for each in items] == [False, False, None]


def test_a_key_is_text_to_a_spreadsheet_and_that_of_an_earlier_version_still_counts(
    workspace: HablaWorkspace, tmp_path: Path
) -> None:
    write_session(workspace.recordings, A, 1)
    ingest_into(workspace)
    items = [make_item(1, "", 1)]
    save_queue(workspace.lake, items, datetime(2026, 2, 17, tzinfo=UTC))
    write_review_tables(workspace.lake, items, ["ana"], tmp_path / "queue")
    table = tmp_path / "queue" / "ana" / "fine_tune_dataset.csv"
    # Sixteen digits, or digits and one `e`, are a number to a spreadsheet, which keeps fifteen digits of it.
    key = load_blind_requests(workspace.lake)[items[0].segment_id].task
    assert table.read_text("utf-8-sig").splitlines()[1].endswith(f";blind-{key}")
    fill_in(table.parent, {items[0].segment_id: {"transcript": "hola", "task": key}})
    import_table(table.parent, workspace.lake, workspace.settings, NOW)
    log = load_events(workspace.lake, DAY)
    assert log is not None
    assert [each.is_blind for each in read_events(workspace.lake, log)] == [True]


def test_answers_are_never_overwritten_by_a_second_export(workspace: HablaWorkspace, tmp_path: Path) -> None:
    write_review_tables(workspace.lake, [], ["ana"], tmp_path)
    with pytest.raises(InputError, match="exists already"):
        write_review_tables(workspace.lake, [], ["ana"], tmp_path)
    for people in (["ana", "ana"], ["../ana"], [""]):
        with pytest.raises(InputError, match="distinct names"):
            write_review_tables(workspace.lake, [], people, tmp_path / "other")


def test_no_text_of_a_device_is_a_formula_in_the_table(workspace: HablaWorkspace, tmp_path: Path) -> None:
    write_session(workspace.recordings, A, 3)
    ingest_into(workspace)
    hints = ['=HYPERLINK("http://example.org","pulsa")', "-Hola.", "@todos"]
    items = [make_item(number, hint, 0) for number, hint in enumerate(hints, 1)]
    save_queue(workspace.lake, items, datetime(2026, 2, 17, tzinfo=UTC))
    write_review_tables(workspace.lake, items, ["ana"], tmp_path / "queue")
    path = tmp_path / "queue" / "ana" / "fine_tune_dataset.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        cells = [row["hint"] for row in csv.DictReader(file, delimiter=";")]
    assert cells == [f" {hint}" for hint in hints]
    listed = format_csv(list_segments(workspace.lake, items, workspace.recordings, str))
    assert [row["text"] for row in csv.DictReader(listed.splitlines(), delimiter=";")] == cells
    fill_in(path.parent, {each.segment_id: {"transcript": "Hola."} for each in items})
    import_table(path.parent, workspace.lake, workspace.settings, NOW)
    log = load_events(workspace.lake, DAY)
    assert log is not None
    seen = {each.segment_id: each.seen_text for each in read_events(workspace.lake, log)}
    assert [seen[each.segment_id] for each in items] == [None, "-Hola.", "@todos"]
