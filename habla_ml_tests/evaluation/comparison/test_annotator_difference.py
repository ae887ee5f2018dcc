"""The difference between two people, with its interval, and what the report says about references."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from habla_ml.annotation.event_log import append_events
from habla_ml.corpus.conventions import load_conventions
from habla_ml.evaluation.comparison.annotator_difference import AnnotatorDifference, measure_annotator_difference
from habla_ml.evaluation.report.sentences import describe_annotators, describe_references
from habla_ml.lake import Lake
from habla_ml.settings import EvaluationSettings
from habla_ml_tests.corpus.test_agreement import DAY, make_table_event
from habla_ml_tests.testing.habla_sessions import V1
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances
from habla_ml_tests.testing.text_corpora import create_empty_lake

CONVENTIONS = load_conventions(V1)
SETTINGS = EvaluationSettings(bootstrap_draws=400)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_empty_lake(tmp_path)


def append_pairs(lake: Lake, sessions: int, is_blind: bool, name: str) -> None:
    """Append two people's texts of three words for each session; every second one differs in one word."""
    events = []
    for at in range(sessions):
        other = "uno dos tres" if at % 2 else "uno dos cuatro"
        events += [
            make_table_event(f"{name}{at}/1", person, text, is_blind=is_blind)
            for person, text in (("ana", "uno dos tres"), ("eva", other))
        ]
    append_events(lake, DAY, events, {})


def test_the_floor_is_of_blind_texts_where_there_are_any(lake: Lake) -> None:
    assert measure_annotator_difference(lake, CONVENTIONS, SETTINGS) is None
    append_pairs(lake, 9, False, "shown")
    shown = measure_annotator_difference(lake, CONVENTIONS, SETTINGS)
    assert shown is not None
    assert (shown.segments, shown.sessions, shown.is_blind) == (9, 9, False)
    append_pairs(lake, 4, True, "blind")
    blind = measure_annotator_difference(lake, CONVENTIONS, SETTINGS)
    assert blind is not None
    assert (blind.segments, blind.sessions, blind.is_blind) == (4, 4, True)
    assert blind.wer == pytest.approx(2 / 12)
    assert blind.low is not None
    assert blind.high is not None
    # With p = 1/6 per word and sessions that have 0 or 1/3, the standard error is 1/12; few sessions widen it.
    assert blind.low == 0 < blind.wer < blind.high
    assert blind.high > blind.wer + 2 / 12
    text = describe_annotators(
        make_comparison(make_utterances(2, 2), {"base": 0.1}).model_copy(update={"annotators": blind})
    )
    assert text.startswith("two people differ on 16.7")
    assert "4 segments of 4 sessions, both typed without a text in view" in text


def test_one_session_gives_no_interval(lake: Lake) -> None:
    append_pairs(lake, 1, True, "one")
    found = measure_annotator_difference(lake, CONVENTIONS, SETTINGS)
    assert found == AnnotatorDifference(wer=1 / 3, low=None, high=None, segments=1, sessions=1, is_blind=True)
    comparison = make_comparison(make_utterances(2, 2), {"base": 0.1})
    assert "one session, so without an interval" in describe_annotators(
        comparison.model_copy(update={"annotators": found})
    )
    assert describe_annotators(comparison) == "not measured: no segment has the texts of two people"


def test_the_report_says_how_many_references_are_blind_and_the_wer_on_these() -> None:
    utterances = make_utterances(4, 5)
    assert describe_references(make_comparison(utterances, {"base": 0.3})).startswith("none of 20 is blind: ")
    mixed = [replace(each, is_blind=at % 4 == 0) for at, each in enumerate(utterances)]
    comparison = make_comparison(mixed, {"base": 0.3, "candidate": 0.1})
    text = describe_references(comparison)
    assert text.startswith("5 of 20 are blind, typed without a text in view (")
    [blind] = [each for each in comparison.slices if each.name == "blind"]
    assert f"({blind.words} words of 4 sessions)" in text
    assert "WER on these alone, too small: " in text
    for rate in blind.rates:
        assert rate.rate.value is not None
        assert f"{rate.model} {100 * rate.rate.value:.1f}" in text
