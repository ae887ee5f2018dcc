"""The event that decides, where one of the texts is blind."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from habla_ml.annotation.event_log import append_events, read_event_table, read_valid_events
from habla_ml.annotation.events import EVENT_SCHEMA, AnnotationEvent
from habla_ml.corpus.agreement import measure_agreement
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.references import select_references
from habla_ml.evaluation.scoring.normalisation import normalise_spanish_pair
from habla_ml.lake.table import put_table
from habla_ml_tests.testing.habla_sessions import V1
from habla_ml_tests.testing.text_corpora import create_empty_lake

DAY = "2026-02-16"
FIRST_ANSWER = AnnotationEvent(
    segment_id="s/1",
    session_id="s",
    day=DAY,
    text="uno",
    status="corrected",
    reason="",
    person="ana",
    source="label_studio",
    created_at=datetime(2026, 3, 1, tzinfo=UTC),
    seen_text=None,
    is_blind=True,
)
BY_EVA: dict[str, Any] = {"person": "eva", "text": "dos"}
SHOWN: dict[str, Any] = {"is_blind": False, "seen_text": "texto de la máquina"}


def select(folder: Path, *answers: dict[str, Any]) -> tuple[str, str, bool | None]:
    """Return text, status and blindness of the reference after these answers, one an hour."""
    lake = create_empty_lake(folder)
    events = [
        replace(FIRST_ANSWER, created_at=FIRST_ANSWER.created_at + timedelta(hours=at), **answer)
        for at, answer in enumerate(answers)
    ]
    log = append_events(lake, DAY, [*events, replace(FIRST_ANSWER, segment_id="z", is_blind=None, text="otro")], {})
    rows = select_references(read_valid_events(lake, log.parquet)).to_pylist()
    assert [row["segment_id"] for row in rows] == ["s/1", "z"]
    assert rows[1]["is_blind"] is None
    return rows[0]["text"], rows[0]["status"], rows[0]["is_blind"]


@pytest.mark.parametrize(
    ("answers", "text", "is_blind"),
    [
        ([{}], "uno", True),
        ([{}, BY_EVA], "uno", True),  # the second person does not replace the first
        ([{}, {**BY_EVA, **SHOWN, "person": "", "source": "habla"}], "uno", True),  # nor does a page with machine text
        ([{}, {"text": "uno más"}], "uno más", True),  # the author corrects the own text
        ([{}, {**SHOWN, "text": "tres", "source": "table:t"}], "tres", False),
        ([{}, {**BY_EVA, "is_blind": False, "seen_text": "uno", "attempt": 1}], "dos", True),  # a review of this text
        ([{}, {**BY_EVA, "is_blind": False, "seen_text": "otro", "attempt": 1}], "uno", True),
        ([SHOWN, BY_EVA], "dos", True),  # a blind text replaces one that was not
        ([SHOWN, {"text": "dos"}], "dos", False),  # the same person saw the machine's text before
        ([{**SHOWN, "person": "ANA "}, {"text": "dos"}], "dos", False),
    ],
)
def test_a_blind_text_is_replaced_only_by_its_author_or_a_review_of_it(
    tmp_path: Path, answers: list[dict[str, Any]], text: str, is_blind: bool
) -> None:
    assert select(tmp_path, *answers) == (text, "corrected", is_blind)


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([{}, {**BY_EVA, "status": "unusable", "reason": "no_speech"}], "unusable"),
        ([{"status": "unusable", "reason": "cut_off"}, BY_EVA], "unusable"),
        ([{"status": "unusable", "reason": "cut_off"}, {"text": "sí se oye"}], "corrected"),
        ([{"status": "unusable", "reason": "cut_off"}, {**BY_EVA, **SHOWN}], "corrected"),
    ],
)
def test_one_of_two_people_can_find_a_segment_unusable(
    tmp_path: Path, answers: list[dict[str, Any]], status: str
) -> None:
    assert select(tmp_path, *answers)[1] == status


def test_events_without_the_column_are_unknown_and_keep_their_ids(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    old = replace(FIRST_ANSWER, is_blind=None)
    rows = pa.Table.from_pylist([old.row()], schema=EVENT_SCHEMA).drop_columns(["is_blind"])
    table = read_event_table(lake, put_table(lake, rows))
    assert table.schema.equals(EVENT_SCHEMA)
    assert table["is_blind"].to_pylist() == [None]
    assert select_references(table)["is_blind"].to_pylist() == [None]
    assert old.event_id == replace(old, is_blind=False).event_id != FIRST_ANSWER.event_id


def test_the_floor_compares_blind_texts_alone(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    pairs = [("a", "uno dos tres cuatro", "uno dos tres cinco"), ("b", "sí", "sí")]
    events = []
    for session, one, other in pairs:
        for person, text in (("ana", one), ("eva", other)):
            answer = replace(FIRST_ANSWER, segment_id=f"{session}/1", session_id=session)
            events.append(replace(answer, person=person, text=text))
    shown = replace(FIRST_ANSWER, segment_id="c/1", session_id="c", text="hola")
    events += [shown, replace(shown, person="eva", text="adiós", is_blind=False, seen_text="adiós")]
    append_events(lake, DAY, events, {})
    conventions = load_conventions(V1)
    floor = measure_agreement(lake, conventions, normalise_spanish_pair, only_blind=True)
    assert (floor.segments, floor.wer.errors) == (2, 1)
    assert floor.wer.value == pytest.approx(1 / 5)
    assert [tuple(row.values()) for row in floor.by_session.to_pylist()] == [("a", 1, 4), ("b", 0, 1)]
    assert measure_agreement(lake, conventions, normalise_spanish_pair).segments == 3
