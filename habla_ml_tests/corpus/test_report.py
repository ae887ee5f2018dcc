"""The corpus report: its figures by hand, its page against hostile texts, its audio within a bound."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from habla_ml.annotation.review_queue import ReviewItem, ReviewRequest, save_queue
from habla_ml.audio import decode_flac
from habla_ml.corpus.report import CorpusReport, describe_corpus
from habla_ml.corpus.report_page import render_corpus_report
from habla_ml.corpus.snapshot import Snapshot, Split, save_snapshot
from habla_ml.lake import Lake, catalogue, compute_digest
from habla_ml.settings import QualitySettings
from habla_ml_tests.testing.annotated_days import DIGEST, RecordedSegmentSpec, write_recorded_day
from habla_ml_tests.testing.html_tags import assert_self_contained
from habla_ml_tests.testing.spellings import respell
from habla_ml_tests.testing.text_corpora import create_empty_lake

BOUNDS = QualitySettings()
HOSTILE = '</blockquote><script>alert("x")</script><img src=x onerror=alert(1)>'


def describe(lake: Lake, **bounds: float) -> CorpusReport:
    return describe_corpus(lake, QualitySettings.model_validate(bounds))


@pytest.fixture
def two_day_lake(tmp_path: Path) -> Lake:
    """Monday: five segments, three annotated, two usable. Tuesday: one of two annotated and usable."""
    lake = create_empty_lake(tmp_path)
    write_recorded_day(
        lake,
        "2026-02-16",
        [
            RecordedSegmentSpec(1, "La casa blanca.", seconds=4.0, loudness_dbfs=-22.0),
            RecordedSegmentSpec(2, "La casa y el perro.", seconds=6.0, loudness_dbfs=-38.0, speaker="Lucía"),
            RecordedSegmentSpec(3, "[ruido]", "only markers", seconds=2.0),
            RecordedSegmentSpec(4, None, seconds=3.0, clipped_share=0.5, speaker=None),
            RecordedSegmentSpec(5, None, seconds=3.0, loudness_dbfs=-90.0),
        ],
    )
    write_recorded_day(
        lake,
        "2026-02-17",
        [RecordedSegmentSpec(1, "El perro blanco.", seconds=2.0), RecordedSegmentSpec(2, None, seconds=2.0)],
    )
    return lake


def test_each_day_counts_segments_hours_and_annotations(two_day_lake: Lake) -> None:
    monday, tuesday = describe(two_day_lake).days
    assert (monday.segments, monday.annotated, monday.usable) == (5, 3, 2)
    assert monday.recorded_h == pytest.approx(18 / 3600)
    assert monday.usable_h == pytest.approx(10 / 3600)
    assert (tuesday.segments, tuesday.annotated, tuesday.usable) == (2, 1, 1)
    assert describe(two_day_lake).annotated_share == pytest.approx(4 / 7)


def test_speakers_and_loudness_add_up_to_all_hours(two_day_lake: Lake) -> None:
    report = describe(two_day_lake)
    seconds = {each.name: (each.recorded_h * 3600, each.usable_h * 3600) for each in report.speakers}
    assert list(seconds) == ["Profe", "Lucía", "unknown"]
    assert [*seconds.values()] == [pytest.approx(each) for each in ((13, 6), (6, 6), (3, 0))]
    levels = {low: (each.recorded_h * 3600, each.usable_h * 3600) for low, each in report.loudness}
    assert levels[-25] == pytest.approx((13, 6))
    assert levels[-40] == pytest.approx((6, 6))
    assert levels[-90] == pytest.approx((3, 0))
    assert list(levels) == list(range(-90, -20, 5))


def test_vocabulary_grows_in_order_of_days_and_ignores_case(two_day_lake: Lake) -> None:
    points = [(each.words, each.distinct) for each in describe(two_day_lake).vocabulary]
    assert points == [(0, 0), (8, 6), (11, 7)]


def test_flagged_segments_have_a_reason_and_their_audio(two_day_lake: Lake) -> None:
    report = describe(two_day_lake)
    assert report.flagged_counts == {"only markers": 1, "clipped": 1, "silent": 1}
    found = {each.reason: each for each in report.flagged}
    assert found["only markers"].text == "[ruido]"
    assert found["clipped"].text == ""
    for reason, seconds in (("only markers", 2.0), ("clipped", 3.0), ("silent", 3.0)):
        assert len(decode_flac(found[reason].flac or b"")) == round(16_000 * seconds)


def test_the_newest_segments_of_each_reason_are_shown_up_to_the_limit(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    for day in ("2026-02-16", "2026-02-17", "2026-02-18"):
        lines = [RecordedSegmentSpec(n, "[x]", "unknown marker") for n in range(1, 6)]
        write_recorded_day(
            lake,
            day,
            [
                *lines,
                RecordedSegmentSpec(9, "What is the name of that?"),
                RecordedSegmentSpec(10, "a", "too fast"),
            ],
        )
    report = describe(lake, flagged_segments_shown=5)
    assert report.flagged_counts == {"unknown marker": 15, "not Spanish": 3, "too fast": 3}
    shown = sorted((each.reason, each.day) for each in report.flagged)
    assert shown == [
        ("not Spanish", "2026-02-17"),
        ("not Spanish", "2026-02-18"),
        ("too fast", "2026-02-17"),
        ("too fast", "2026-02-18"),
        ("unknown marker", "2026-02-18"),
    ]


def test_a_segment_with_two_flags_is_shown_once(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    write_recorded_day(
        lake, "2026-02-16", [RecordedSegmentSpec(1, "x", "too slow", clipped_share=0.9), RecordedSegmentSpec(2)]
    )
    report = describe(lake)
    assert report.flagged_counts == {"clipped": 1, "too slow": 1}
    assert [each.segment_id for each in report.flagged] == ["2026-02-16/s1/1"]


def test_audio_stays_below_its_size_limit(two_day_lake: Lake) -> None:
    sizes = sorted(len(each.flac or b"") for each in describe(two_day_lake).flagged)
    bounded = describe(two_day_lake, largest_audio_bytes=sizes[0] + sizes[1]).flagged
    assert 0 < sum(len(each.flac or b"") for each in bounded) <= sizes[0] + sizes[1]
    assert any(each.flac is None for each in bounded)


def test_broken_rules_are_counted(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    lines = [
        RecordedSegmentSpec(1, "Que?", violations=("question mark", "accent")),
        RecordedSegmentSpec(2, "Y tu?", violations=("accent",)),
    ]
    write_recorded_day(lake, "2026-02-16", [*lines, RecordedSegmentSpec(3)])
    report = describe(lake)
    assert report.violations == {"accent": 2, "question mark": 1}
    assert report.flagged_counts == {"breaks a rule: accent": 2}


def test_a_confirmed_broken_rule_is_counted_but_not_flagged(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    day, line = "2026-02-16", RecordedSegmentSpec(1, "Son 3  casas.", violations=("digits", "doubled spaces"))
    write_recorded_day(lake, day, [line, RecordedSegmentSpec(2, "Son 4 casas.", violations=("digits",))])
    request = ReviewRequest(1, ("digits", "doubled spaces"), DIGEST, compute_digest("Son 3  casas."))
    item = ReviewItem(line.name(day), "s1", day, "Profe", 1.0, "", "", 1.0, (), False, request)
    # The world's people typed on New Year's day of 2026.
    save_queue(lake, [item], datetime(2025, 12, 1, tzinfo=UTC))
    report = describe(lake)
    assert report.violations == {"digits": 2, "doubled spaces": 1}
    assert report.confirmed == {"digits": 1, "doubled spaces": 1}
    assert report.flagged_counts == {"breaks a rule: digits": 1}
    assert "confirmed by a person" in render_corpus_report(report)


def test_conventions_in_use_are_counted_by_day(two_day_lake: Lake) -> None:
    write_recorded_day(two_day_lake, "2026-02-18", [RecordedSegmentSpec(1)], conventions="verbatim-v1")
    assert [(each.title, each.days) for each in describe(two_day_lake).conventions] == [
        ("orthographic-v1", 2),
        ("verbatim-v1", 1),
    ]


def test_hours_by_role_come_from_a_snapshot_with_roles(two_day_lake: Lake) -> None:
    assert describe(two_day_lake).roles == ()
    out = io.BytesIO()
    rows = {"role": ["teacher", "student", "teacher", None], "duration_s": [1800.0, 900.0, 1800.0, 36.0]}
    pq.write_table(pa.table(rows), out)
    hours: dict[Split, float] = {"train": 1.26, "validation": 0.0, "test": 0.0}
    counts: dict[Split, int] = {"train": 4, "validation": 0, "test": 0}
    segments = two_day_lake.put_bytes(out.getvalue())
    draft = Snapshot("", segments, {}, {}, "orthographic-v1", "c" * 64, "1" * 64, hours, counts)
    snapshot = save_snapshot(two_day_lake, replace(draft, near_duplicates={"train": 2, "validation": 0, "test": 1}))
    two_day_lake.move_pointer(catalogue.SPLITS, {"snapshot": snapshot.id}, None)
    report = describe(two_day_lake)
    assert [each.name for each in report.roles] == ["teacher", "student", "unknown"]
    assert [each.usable_h for each in report.roles] == pytest.approx([1.0, 0.25, 0.01])
    assert snapshot.id in render_corpus_report(report)
    assert "1 of test, 2 of train" in render_corpus_report(report)


def test_the_page_of_an_empty_lake_states_that_it_is_empty(tmp_path: Path) -> None:
    page = render_corpus_report(describe(create_empty_lake(tmp_path)))
    assert "The lake is empty" in page


def test_hostile_texts_and_names_are_escaped_and_the_page_loads_nothing(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    lines = [
        RecordedSegmentSpec(1, HOSTILE, "too fast", speaker=HOSTILE, session=HOSTILE),
        RecordedSegmentSpec(2, "La casa.", speaker=HOSTILE, violations=(HOSTILE,)),
    ]
    write_recorded_day(lake, "2026-02-16", lines, conventions=HOSTILE)
    page = render_corpus_report(describe(lake))
    assert_self_contained(page)
    assert "&lt;script&gt;" in page


def test_the_page_has_the_flagged_audio_and_the_redacted_copy_has_no_audio_text_or_name(
    two_day_lake: Lake,
) -> None:
    report = describe(two_day_lake)
    page, kept = render_corpus_report(report), render_corpus_report(report.redact())
    played = {b64decode(each) for each in re.findall(r"data:audio/flac;base64,([A-Za-z0-9+/=]+)", page)}
    assert played == {each.flac for each in report.flagged}
    assert "[ruido]" in page
    assert "Lucía" in page
    for gone in ("[ruido]", "Lucía", "Profe", "segment_003.wav"):
        assert gone not in kept
    assert "data:audio" not in kept
    assert "only markers" in kept


def test_the_same_lake_gives_the_same_bytes(two_day_lake: Lake) -> None:
    assert render_corpus_report(describe(two_day_lake)) == render_corpus_report(describe(two_day_lake))


@pytest.mark.parametrize(("days", "unit", "drawn"), [(70, "day", 70), (71, "week", 11), (600, "month", 20)])
def test_many_days_are_drawn_as_weeks_or_months(tmp_path: Path, days: int, unit: str, drawn: int) -> None:
    from datetime import date, timedelta

    from habla_ml.corpus.report import DaySummary

    lines = tuple(
        DaySummary((date(2026, 1, 5) + timedelta(days=n)).isoformat(), 10, 1.0, 5, 5, 0.5) for n in range(days)
    )
    page = render_corpus_report(replace(describe(create_empty_lake(tmp_path)), days=lines))
    assert f"<h2>Hours by {unit}</h2>" in page
    assert page.count(" with a usable transcript</title>") == drawn


def test_a_speaker_in_many_spellings_is_one_line_under_the_most_spoken_one(tmp_path: Path) -> None:
    lake, labels = create_empty_lake(tmp_path), respell("Lucía Peña")
    spoken = [RecordedSegmentSpec(at, None, seconds=1.0, speaker=label) for at, label in enumerate(labels)]
    write_recorded_day(lake, "2026-02-16", [*spoken, RecordedSegmentSpec(99, None, seconds=2.0, speaker=labels[0])])
    (found,) = describe(lake).speakers
    assert (found.name, found.recorded_h * 3600) == ("Lucía Peña", pytest.approx(len(labels) + 2))
