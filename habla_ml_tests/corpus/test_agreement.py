"""How far people differ, against fractions worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from habla_ml.annotation.event_log import append_events
from habla_ml.annotation.events import AnnotationEvent
from habla_ml.corpus.agreement import estimate_rate, measure_agreement
from habla_ml.corpus.conventions import load_conventions
from habla_ml.evaluation.scoring.normalisation import normalise_spanish_pair
from habla_ml.lake import Lake
from habla_ml_tests.testing.habla_sessions import V1
from habla_ml_tests.testing.text_corpora import create_empty_lake

DAY = "2026-02-16"
CONVENTIONS_V1 = load_conventions(V1)
THEN = datetime(2026, 3, 1, tzinfo=UTC)


def make_table_event(segment: str, person: str, text: str, **changes: Any) -> AnnotationEvent:
    event = AnnotationEvent(
        segment_id=segment,
        session_id=segment.split("/")[0],
        day=DAY,
        text=text,
        status="corrected",
        reason="",
        person=person,
        source="table:t",
        created_at=THEN,
        seen_text=None,
    )
    return replace(event, **changes)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_empty_lake(tmp_path)


def test_the_rate_is_errors_over_the_mean_length_and_symmetric(lake: Lake) -> None:
    append_events(
        lake,
        DAY,
        [
            # "los niños comen" and "los niño comen pan": one substitution, one insertion, lengths 3 and 4
            make_table_event("a/1", "ana", "Los niños comen."),
            make_table_event("a/1", "eva", "los niño comen pan"),
            # the same words: lengths 2 and 2
            make_table_event("b/1", "eva", "¿Qué tal?"),
            make_table_event("b/1", "ana", "qué tal"),
            # one person alone, and one person in two sources, are no comparison
            make_table_event("b/2", "ana", "hola"),
            make_table_event("b/3", "ana", "hola"),
            make_table_event("b/3", "ana", "adiós", source="habla"),
        ],
        {},
    )
    found = measure_agreement(lake, CONVENTIONS_V1, normalise_spanish_pair)
    assert (found.segments, found.sessions, found.comparisons, found.usability_conflicts) == (2, 2, 2, 0)
    assert found.wer.errors == 2
    assert found.wer.value == pytest.approx(2 / (3.5 + 2))
    # characters: s deleted and " pan" inserted = 5; lengths 15 and 18, 7 and 7
    assert found.cer.value == pytest.approx(5 / (16.5 + 7))
    [pair] = found.pairs
    assert (pair.first, pair.second, pair.segments, pair.identical) == ("ana", "eva", 2, 1)
    assert pair.wer == pytest.approx(2 / 5.5)
    swapped = create_empty_lake(get_lake_root(lake) / "other")
    append_events(
        swapped,
        DAY,
        [
            make_table_event("a/1", "eva", "Los niños comen."),
            make_table_event("a/1", "ana", "los niño comen pan"),
            make_table_event("b/1", "ana", "¿Qué tal?"),
            make_table_event("b/1", "eva", "qué tal"),
        ],
        {},
    )
    again = measure_agreement(swapped, CONVENTIONS_V1, normalise_spanish_pair)
    assert (again.wer, again.cer) == (found.wer, found.cer)


def get_lake_root(lake: Lake) -> Path:
    return Path(lake.url)


def test_the_interval_is_over_whole_sessions_and_contains_the_rate(lake: Lake) -> None:
    events = []
    for at in range(10):
        other = "uno dos tres" if at % 2 else "uno dos cuatro"
        events += [make_table_event(f"s{at}/1", "ana", "uno dos tres"), make_table_event(f"s{at}/1", "eva", other)]
    append_events(lake, DAY, events, {})
    found = measure_agreement(lake, CONVENTIONS_V1, normalise_spanish_pair)
    assert found.wer.value == pytest.approx(5 / 30)
    assert found.wer.interval is not None
    # Each session is 1/2 error off the rate: sqrt(10 * 10 / 9 / 4) / 30 = 0.0556, times t(0.975, 9) = 2.2622.
    assert found.wer.interval == pytest.approx((5 / 30 - 0.12568, 5 / 30 + 0.12568), abs=1e-4)
    assert "16.7% of words" in found.summary


@pytest.mark.parametrize("sessions", [2, 3, 5, 12])
def test_the_interval_holds_the_true_rate_with_few_sessions_too(sessions: int) -> None:
    """A percentile interval holds it in 51 % of corpora with two sessions, and in 83 % with five."""
    rng, held = np.random.default_rng(sessions), 0
    for _ in range(500):
        lengths = np.maximum(20, rng.lognormal(np.log(120), 0.3, sessions).round())
        difficulty = np.exp(rng.normal(0, 0.35, sessions) - 0.35**2 / 2)
        interval = estimate_rate(rng.poisson(0.06 * difficulty * lengths), lengths).interval
        assert interval is not None
        held += interval[0] <= 0.06 <= interval[1]
    assert 0.90 <= held / 500 <= 0.98


def test_one_session_gives_no_interval_and_an_empty_log_gives_no_rate(lake: Lake) -> None:
    empty = measure_agreement(lake, CONVENTIONS_V1, normalise_spanish_pair)
    assert (empty.segments, empty.wer.value, empty.wer.interval) == (0, 0.0, None)
    assert "not measured" in empty.summary
    append_events(lake, DAY, [make_table_event("a/1", "ana", "uno dos"), make_table_event("a/1", "eva", "uno")], {})
    found = measure_agreement(lake, CONVENTIONS_V1, normalise_spanish_pair)
    assert found.wer.value == pytest.approx(1 / 1.5)
    assert found.wer.interval is None


def test_only_the_latest_event_of_each_author_counts(lake: Lake) -> None:
    later = THEN + timedelta(hours=1)
    append_events(
        lake,
        DAY,
        [
            make_table_event("a/1", "ana", "casa"),
            make_table_event("a/1", "ana", "cosa", created_at=later),
            make_table_event("a/1", "eva", "cosa"),
            make_table_event("a/1", "", "cosa", source="habla"),
        ],
        {},
    )
    found = measure_agreement(lake, CONVENTIONS_V1, normalise_spanish_pair)
    assert (found.comparisons, found.segments, found.wer.value) == (3, 1, 0.0)
    assert {(pair.first, pair.second) for pair in found.pairs} == {
        ("ana", "eva"),
        ("ana", "habla"),
        ("eva", "habla"),
    }


def test_a_text_and_an_unusable_are_a_conflict_and_not_a_word_error(lake: Lake) -> None:
    append_events(
        lake,
        DAY,
        [
            make_table_event("a/1", "ana", "", status="unusable", reason="ruido"),
            make_table_event("a/1", "eva", "hola"),
            make_table_event("a/2", "ana", "[inaudible]"),
            make_table_event("a/2", "eva", "hola"),
            make_table_event("a/3", "ana", "", status="unusable"),
            make_table_event("a/3", "eva", "[inaudible]"),
        ],
        {},
    )
    found = measure_agreement(lake, CONVENTIONS_V1, normalise_spanish_pair)
    assert (found.comparisons, found.usability_conflicts) == (0, 2)


def test_two_people_who_write_a_number_differently_agree(lake: Lake) -> None:
    texts = [
        ("Son las 3:15.", "Son las tres y cuarto."),
        ("Tengo veintiún años.", "Tengo 21 años."),
        ("5 mesas", "4 mesas"),
    ]
    for at, (one, other) in enumerate(texts):
        append_events(
            lake, DAY, [make_table_event(f"a/{at}", "ana", one), make_table_event(f"a/{at}", "eva", other)], {}
        )
    found = measure_agreement(lake, CONVENTIONS_V1, normalise_spanish_pair)
    assert (found.comparisons, found.wer.errors) == (3, 1)


def test_agreement_can_be_limited_to_days(lake: Lake) -> None:
    append_events(lake, DAY, [make_table_event("a/1", "ana", "uno"), make_table_event("a/1", "eva", "dos")], {})
    assert measure_agreement(lake, CONVENTIONS_V1, normalise_spanish_pair, ["2026-02-17"]).comparisons == 0
    assert measure_agreement(lake, CONVENTIONS_V1, normalise_spanish_pair, [DAY]).comparisons == 1


def test_one_person_in_two_spellings_does_not_agree_with_himself(lake: Lake) -> None:
    first = [make_table_event("a/1", "Núria", "hola"), make_table_event("b/1", "Núria", "adiós")]
    second = [make_table_event("a/1", " NU\u0301RIA", "ola"), make_table_event("b/1", "eva", "adiós")]
    append_events(lake, DAY, [*first, *second], {})
    found = measure_agreement(lake, CONVENTIONS_V1, normalise_spanish_pair)
    assert [(each.first, each.second, each.segments) for each in found.pairs] == [("eva", "Núria", 1)]


def test_the_same_answer_of_another_spelling_is_no_new_event(lake: Lake) -> None:
    assert append_events(lake, DAY, [make_table_event("a/1", "Núria", "hola")], {}).added == 1
    assert append_events(lake, DAY, [make_table_event("a/1", "nu\u0301ria ", "hola")], {}).added == 0
