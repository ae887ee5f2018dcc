"""Findings: their figures against fractions counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from habla_ml.corpus.build import load_corpus_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.quality import (
    QualityFinding,
    check_recordings,
    check_snapshot,
    check_text,
    compute_rank_correlation,
    find_lost_hours,
    hours_by_day,
    load_baseline_hours,
    save_baseline_hours,
)
from habla_ml.corpus.snapshot import Snapshot
from habla_ml.corpus.splits import make_snapshot
from habla_ml.lake import Lake
from habla_ml.recordings.days import load_day
from habla_ml.settings import QualitySettings
from habla_ml_tests.testing.annotated_days import RecordedSegmentSpec, write_recorded_day
from habla_ml_tests.testing.habla_sessions import V1, make_workspace
from habla_ml_tests.testing.text_corpora import AnnotatedSegmentSpec, create_empty_lake, write_corpus_day

DAY = "2026-02-16"
BOUNDS = QualitySettings()
SENTENCE = "el niño come pan con la maestra en casa y luego vamos todos al campo de la escuela porque hace sol"


def make_matching_segments(count: int) -> list[RecordedSegmentSpec]:
    """Texts that are longer where their audio is."""
    return [
        RecordedSegmentSpec(
            n, " ".join(SENTENCE.split()[: 2 + n % 18]).capitalize() + ".", seconds=0.3 + 0.05 * (n % 18)
        )
        for n in range(1, count + 1)
    ]


def shifted(lines: list[RecordedSegmentSpec]) -> list[RecordedSegmentSpec]:
    """Return each text with the audio of the next file, as from a table shifted by one line."""
    texts = [line.sentence for line in lines]
    order = np.random.default_rng(0).permutation(len(texts))
    return [
        RecordedSegmentSpec(line.number, texts[at], seconds=line.seconds) for line, at in zip(lines, order, strict=True)
    ]


def write_and_check_text(
    lake: Lake, lines: list[RecordedSegmentSpec], bounds: QualitySettings = BOUNDS
) -> dict[str, QualityFinding]:
    write_recorded_day(lake, DAY, lines)
    day = load_corpus_day(lake, DAY)
    assert day is not None
    return {each.name: each for each in check_text(lake, day, bounds)}


def write_and_check_recordings(lake: Lake, lines: list[RecordedSegmentSpec]) -> dict[str, QualityFinding]:
    write_recorded_day(lake, DAY, lines)
    day = load_day(lake, DAY)
    assert day is not None
    return {each.name: each for each in check_recordings(lake, day.metadata, BOUNDS)}


def publish_v1_snapshot(tmp_path: Path, lake: Lake) -> Snapshot:
    return make_snapshot(lake, make_workspace(tmp_path).settings, load_conventions(V1))


def test_a_good_day_passes_every_check(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    found = write_and_check_text(lake, make_matching_segments(40)) | write_and_check_recordings(
        lake, make_matching_segments(40)
    )
    assert len(found) == 6
    assert all(each.passed for each in found.values())


def test_the_share_of_texts_without_words_ignores_unusable_segments(tmp_path: Path) -> None:
    lines = [
        *make_matching_segments(20),
        *(RecordedSegmentSpec(n, "", "only markers") for n in range(21, 28)),
        *(RecordedSegmentSpec(n, "", "empty") for n in range(28, 30)),
        *(RecordedSegmentSpec(n, "", "unusable") for n in range(30, 40)),
    ]
    found = write_and_check_text(create_empty_lake(tmp_path), lines)["texts_have_words"]
    assert found.value == pytest.approx(9 / 29, abs=1e-6)
    assert (found.failing_count, found.checked_count, found.passed) == (9, 29, False)
    assert {each.reason for each in found.examples} == {"only markers", "empty"}


def test_speaking_rate_outside_the_bounds_fails_with_its_segments(tmp_path: Path) -> None:
    lines = [
        *make_matching_segments(37),
        RecordedSegmentSpec(38, "x", "too slow"),
        RecordedSegmentSpec(39, "y", "too fast"),
        RecordedSegmentSpec(40, "z", "too fast"),
    ]
    found = write_and_check_text(create_empty_lake(tmp_path), lines)["speaking_rate_is_plausible"]
    assert found.value == pytest.approx(3 / 40)
    assert not found.passed
    assert [(each.where, each.reason) for each in found.examples] == [
        ("s1/segment_038.wav", "too slow"),
        ("s1/segment_039.wav", "too fast"),
        ("s1/segment_040.wav", "too fast"),
    ]


def test_a_value_at_the_bound_passes_and_one_beyond_it_fails(tmp_path: Path) -> None:
    lines = [*make_matching_segments(19), RecordedSegmentSpec(20, "x", "too slow")]
    lake = create_empty_lake(tmp_path)
    assert write_and_check_text(lake, lines, QualitySettings(most_implausible_rate_share=0.05))[
        "speaking_rate_is_plausible"
    ].passed
    assert not write_and_check_text(lake, lines, QualitySettings(most_implausible_rate_share=0.049))[
        "speaking_rate_is_plausible"
    ].passed


def test_texts_shifted_relative_to_their_files_are_found(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    assert write_and_check_text(lake, make_matching_segments(60))[
        "texts_are_as_long_as_their_audio"
    ].value == pytest.approx(1.0, abs=0.01)
    found = write_and_check_text(lake, shifted(make_matching_segments(60)))["texts_are_as_long_as_their_audio"]
    assert not found.passed
    assert found.value < 0.4
    assert "shifted" in found.note


def test_english_among_spanish_is_counted_with_examples(tmp_path: Path) -> None:
    lines = [
        *make_matching_segments(36),
        *(RecordedSegmentSpec(n, "What is the name of this town?") for n in range(37, 41)),
    ]
    found = write_and_check_text(create_empty_lake(tmp_path), lines)["texts_are_spanish"]
    assert found.value == pytest.approx(4 / 40)
    assert not found.passed
    assert [each.where for each in found.examples] == [f"s1/segment_{n:03d}.wav" for n in range(37, 41)]


def test_too_few_segments_get_no_verdict(tmp_path: Path) -> None:
    lines = [RecordedSegmentSpec(n, "What is the name of this town?") for n in range(1, 20)]
    found = write_and_check_text(create_empty_lake(tmp_path), lines)["texts_are_spanish"]
    assert found.passed
    assert found.failing_count == 19
    assert "below quality.fewest_segments 20" in found.note


def test_a_day_without_annotations_passes(tmp_path: Path) -> None:
    lines = [RecordedSegmentSpec(n, None) for n in range(1, 30)]
    assert all(each.passed for each in write_and_check_text(create_empty_lake(tmp_path), lines).values())


def test_clipped_and_silent_segments_are_counted_over_all_recordings(tmp_path: Path) -> None:
    lines = [
        *(RecordedSegmentSpec(n, None) for n in range(1, 22)),
        *(RecordedSegmentSpec(n, None, clipped_share=0.02) for n in range(22, 26)),
        *(RecordedSegmentSpec(n, None, loudness_dbfs=-80.0) for n in range(26, 29)),
        RecordedSegmentSpec(29, None, loudness_dbfs=-120.0),
    ]
    found = write_and_check_recordings(create_empty_lake(tmp_path), lines)
    assert found["few_segments_clipped"].value == pytest.approx(4 / 29, abs=1e-6)
    assert found["few_segments_clipped"].examples[0].reason == "2 % at full scale"
    assert found["few_segments_silent"].value == pytest.approx(4 / 29, abs=1e-6)
    assert found["few_segments_silent"].examples[-1].reason == "-120 dBFS"
    assert not any(each.passed for each in found.values())


@pytest.mark.long
def test_a_snapshot_with_a_shifted_day_fails_by_that_days_share_of_the_hours(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    sessions = [
        RecordedSegmentSpec(**{**vars(line), "session": f"a{line.number % 4}"}) for line in make_matching_segments(60)
    ]
    digest = load_conventions(V1).digest
    write_recorded_day(lake, "2026-02-16", sessions, digest=digest)
    mixed = shifted(make_matching_segments(60))
    write_recorded_day(
        lake,
        "2026-02-17",
        [RecordedSegmentSpec(**{**vars(line), "session": "b"}) for line in mixed],
        digest=digest,
    )
    found = {each.name: each for each in check_snapshot(lake, publish_v1_snapshot(tmp_path, lake), BOUNDS)}
    assert found["texts_are_spanish"].passed
    assert found["texts_are_as_long_as_their_audio"].value == pytest.approx(0.5)
    assert not found["texts_are_as_long_as_their_audio"].passed
    assert [each.where for each in found["texts_are_as_long_as_their_audio"].examples] == ["2026-02-17"]


def test_lost_hours_and_lost_days_are_listed() -> None:
    before = {"2026-02-16": 4.0, "2026-02-17": 4.0, "2026-02-18": 2.0}
    hours, days = find_lost_hours(before, {"2026-02-16": 4.0, "2026-02-17": 3.0, "2026-02-19": 1.0}, BOUNDS)
    assert hours.value == pytest.approx((10 - 8) / 10)
    assert not hours.passed
    assert [each.where for each in hours.examples] == ["2026-02-18", "2026-02-17"]
    assert not days.passed
    assert [each.where for each in days.examples] == ["2026-02-18"]


def test_a_lost_day_is_found_although_the_hours_grew() -> None:
    hours, days = find_lost_hours({"2026-02-16": 1.0, "2026-02-17": 9.0}, {"2026-02-17": 20.0}, BOUNDS)
    assert (hours.passed, hours.value) == (True, 0.0)
    assert not days.passed


def test_growth_and_an_unchanged_corpus_lose_nothing() -> None:
    state = {"2026-02-16": 1.0}
    for now in (state, {**state, "2026-02-17": 1.0}):
        assert all(each.passed for each in find_lost_hours(state, now, BOUNDS))


def test_the_baseline_stores_the_hours_of_each_day(tmp_path: Path) -> None:
    lake = create_empty_lake(tmp_path)
    assert load_baseline_hours(lake) is None
    conventions = load_conventions(V1)
    write_corpus_day(
        lake,
        "2026-02-16",
        [AnnotatedSegmentSpec("a", seconds=1800.0), AnnotatedSegmentSpec("b", seconds=1800.0)],
        conventions,
    )
    write_corpus_day(
        lake,
        "2026-02-17",
        [AnnotatedSegmentSpec("c", seconds=900.0), AnnotatedSegmentSpec("d", usable=False)],
        conventions,
    )
    snapshot = publish_v1_snapshot(tmp_path, lake)
    hours = hours_by_day(lake, snapshot)
    assert hours == {"2026-02-16": 1.0, "2026-02-17": 0.25}
    save_baseline_hours(lake, snapshot, hours)
    assert load_baseline_hours(lake) == hours


def test_rank_correlation_is_one_minus_the_squared_rank_differences_and_ties_have_mean_ranks() -> None:
    first, swapped = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 5])
    assert compute_rank_correlation(first, swapped) == pytest.approx(1 - 6 * 4 / (5 * (5**2 - 1)))
    # The ranks are 1.5, 1.5, 3 and 1, 2, 3.
    assert compute_rank_correlation(np.array([1.0, 1, 2]), np.array([1.0, 2, 3])) == pytest.approx(1.5 / 3**0.5)
    assert compute_rank_correlation(np.ones(5), np.arange(5.0)) is None
