"""What is recorded, summed by day and compared with the weeks before the release."""

from __future__ import annotations

import math

import numpy as np
import pytest

from habla_ml.corpus.snapshot import load_snapshot
from habla_ml.corpus.speakers import EnrolledPerson, SpeakerMap
from habla_ml.monitoring.inputs import MONITORED_INPUTS, build_input_series, ratio, sum_days
from habla_ml.monitoring.record import DailyInputs, RatioSums
from habla_ml.monitoring.snapshot_contents import read_snapshot_contents
from habla_ml.training.plan import read_plan
from habla_ml_tests.testing.recorded_days import DAY, SimulatedSegment, publish_recordings

NO_SPEAKERS = SpeakerMap()
WEEKS = ["2026-01-05", "2026-01-12", "2026-01-19", "2026-02-02", "2026-02-09", "2026-02-16", "2026-02-23"]
RELEASE_WEEK = "2026-02-02"


@pytest.fixture
def trained(monitored_deployment):
    return read_snapshot_contents(
        monitored_deployment.lake,
        load_snapshot(monitored_deployment.lake, read_plan(monitored_deployment.lake, "v1").snapshot),
    )


def value(day: DailyInputs, name: str) -> float:
    return day.sums[name].y / day.sums[name].x


def test_the_figures_of_a_day_equal_a_calculation_by_hand(monitored_deployment, trained):
    spoken = [
        SimulatedSegment("one", 1, "Ana", 2.0, -20.0, status="accepted"),
        SimulatedSegment("one", 2, "Nuria", 1.0, -30.0, status="rejected"),
        SimulatedSegment("two", 1, "SPEAKER_00", 1.0, -40.0),
        SimulatedSegment("two", 2, "Ana", 3.0, -120.0),  # Digital silence is no speech.
    ]
    publish_recordings(monitored_deployment.lake, DAY, spoken, monitored_deployment.folder)
    (day,) = sum_days(monitored_deployment.lake, [DAY], {}, trained, NO_SPEAKERS).values()
    assert value(day, "loudness_dbfs") == pytest.approx((2 * -20 - 30 - 40) / 4)
    assert value(day, "duration_s") == pytest.approx(4 / 3)
    assert value(day, "rejected") == 1 / 2  # Of the segments with a status from Habla.
    assert value(day, "unseen_speakers") == pytest.approx(1 / 3)  # Nuria; SPEAKER_00 names no person.
    assert day.sums["duration_s"].units == 2
    assert value(day, "snr_db") < 5  # noise alone


def test_an_enrolled_label_counts_as_its_person(monitored_deployment, trained):
    publish_recordings(
        monitored_deployment.lake,
        DAY,
        [SimulatedSegment("one", 1, "Speaker A"), SimulatedSegment("two", 1, "Speaker A")],
        monitored_deployment.folder,
    )
    ana = SpeakerMap(people=(EnrolledPerson(name="Ana", role="student", labels=("Speaker A",)),))
    nuria = SpeakerMap(people=(EnrolledPerson(name="Nuria", role="student", labels=("Speaker A",)),))
    assert value(sum_days(monitored_deployment.lake, [DAY], {}, trained, ana)[DAY], "unseen_speakers") == 0
    assert value(sum_days(monitored_deployment.lake, [DAY], {}, trained, nuria)[DAY], "unseen_speakers") == 1


def test_only_days_with_changed_recordings_are_read_again(monitored_deployment, trained):
    known = sum_days(monitored_deployment.lake, [DAY, "2026-01-05"], {}, trained, NO_SPEAKERS)
    assert list(known) == ["2026-01-05"]  # The other day has no recordings.
    monitored_deployment.lake.fetch_path(
        monitored_deployment.lake.read_pointer("recordings/2026-01-05").value["facts"]
    ).unlink()
    assert sum_days(monitored_deployment.lake, ["2026-01-05"], known, trained, NO_SPEAKERS) == known


def test_the_ratio_of_equal_sessions_has_the_standard_error_of_their_mean():
    shares = [0.1, 0.2, 0.3, 0.6]
    sums = RatioSums(units=4, x=4, y=sum(shares), xx=4, xy=sum(shares), yy=sum(each**2 for each in shares))
    figure, error, units = ratio(sums)
    assert (figure, units) == (pytest.approx(0.3), 4.0)
    assert error == pytest.approx(np.std(shares, ddof=1) / math.sqrt(4))


def days_of(name: str, means: list[float], spread: float) -> dict[str, DailyInputs]:
    """Return one day in each week with eight sessions of ten segments around a mean."""
    random = np.random.default_rng(6)
    days = {}
    for week, mean in zip(WEEKS, means, strict=True):
        values = random.normal(mean, spread, 8)
        sums = RatioSums(
            units=8,
            x=80.0,
            y=float(10 * values.sum()),
            xx=800.0,
            xy=float(100 * values.sum()),
            yy=float(100 * (values**2).sum()),
        )
        days[week] = DailyInputs(inputs="", sums={name: sums})
    return days


@pytest.mark.parametrize(
    ("name", "before", "after", "spread", "side"),
    [
        ("loudness_dbfs", -25.0, -37.0, 2.0, "fall"),
        ("loudness_dbfs", -25.0, -13.0, 2.0, "rise"),
        ("snr_db", 18.0, 6.0, 2.0, "fall"),
        ("rejected", 0.05, 0.4, 0.03, "rise"),
        ("unseen_speakers", 0.3, 0.95, 0.05, "rise"),
    ],
)
def test_a_change_is_detected_on_its_side_only(trained, name, before, after, spread, side):
    days = days_of(name, [before] * 3 + [after] * 4, spread)
    (series,) = build_input_series(days, {}, trained, RELEASE_WEEK, WEEKS, 200.0)
    assert series.alarms
    assert {which for which in ("rise", "fall") if any(each.alarm for each in getattr(series, which))} == {side}
    assert [each.week for each in series.reference] == WEEKS[:3]
    same = days_of(name, [before] * 7, spread)
    (calm,) = build_input_series(same, {}, trained, RELEASE_WEEK, WEEKS, 200.0)
    assert calm.alarms == ()
    assert calm.bound == 200.0 * sum(len(each.sides) for each in MONITORED_INPUTS)


def test_a_better_signal_raises_no_alarm_and_an_unfinished_week_is_not_tested(trained):
    days = days_of("snr_db", [10.0] * 3 + [30.0] * 4, 2.0)
    (series,) = build_input_series(days, {}, trained, RELEASE_WEEK, WEEKS[:4], 200.0)
    assert (series.alarms, series.rise) == ((), ())
    assert [each.week for each in series.fall] == ["2026-02-02"]
    assert len(series.weeks) == 4


@pytest.mark.long
def test_unknown_words_are_compared_with_the_held_out_sessions(monitored_deployment, trained):
    from habla_ml.monitoring.fresh_corrections import open_fresh_corrections
    from habla_ml_tests.monitoring.conftest import week_start

    lessons = [each for week in range(4) for each in monitored_deployment.record_week(week)]
    monitored_deployment.annotate_lessons(lessons, text="quarks gluones bosones leptones")
    since, zone = week_start(0, monitored_deployment.settings), monitored_deployment.settings.zone
    with open_fresh_corrections(monitored_deployment.lake, trained.segments, since, zone) as fresh:
        found = build_input_series({}, fresh, trained, RELEASE_WEEK, list(fresh), 200.0)
    (words,) = (each for each in found if each.name == "unknown_words")
    assert words.level == 0.0  # All earlier lessons use the same few words.
    assert words.weeks[0].value == 1.0
    assert words.alarms
