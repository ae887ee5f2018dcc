"""The settings refuse every cron expression that Dagster refuses, or that never fires."""

import random
import time
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, takewhile
from pathlib import Path

import pytest
from dagster._utils.schedules import cron_string_iterator, has_out_of_range_cron_interval, is_valid_cron_schedule

from habla_ml.errors import SettingsError
from habla_ml.settings import AutomationSettings, load_settings
from habla_ml.settings.cron import is_weekly, require_cron
from habla_ml_tests.testing.habla_sessions import V1

FIELDS_TEXT = """
* 0 1 5 7 8 12 13 23 24 29 30 31 32 59 60 61 99 -1 1-5 5-1 3-3 */2 */0 */1 */60 */61 */31 */12 */7 1/2 1-5/2 1-5/9
mon sun-mon fri-mon sat-sun mon-fri tue-3 jan feb jan-mar l L l5 l7 L6 1#1 1#6 1#0 mon#2 7#1 0#5 1#1,2 1#1,l5 l1,l2
? h r 1,2 1, , a 1.5 ١ 0x1 *,1 *-5 */ 1- --1 1--2 00 007 1/0 5/100 mon,tue #1 1# mon#mon l-5 1-l w 15w jan#1 1-5#1
*#1 @daily monday feb-30 *5 5* 1-2-3 1/2/3 é
"""
FIELDS = FIELDS_TEXT.split()


def accepts(expression: str) -> bool:
    try:
        require_cron(expression)
    except ValueError:
        return False
    return True


def list_hostile_expressions() -> list[str]:
    generator = random.Random(10)
    frames = [["*"] * 5, ["0", "3", "*", "*", "*"]]
    found = [" ".join([*f[:at], part, *f[at + 1 :]]) for f in frames for at in range(5) for part in FIELDS]
    mixed = [" ".join(generator.choice(FIELDS) for _ in range(generator.choice([4, 5, 5, 5, 6]))) for _ in range(8000)]
    return [*found, *mixed, "", " ", "@daily", "@monthly", "0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31 apr *", "\x00"]


def test_what_the_settings_accept_dagster_accepts_and_fires() -> None:
    accepted = [each for each in list_hostile_expressions() if accepts(each)]
    assert len(accepted) > 200
    for each in accepted:
        assert is_valid_cron_schedule(each), each
        assert not has_out_of_range_cron_interval(each), each
    for each in random.Random(1).sample(accepted, 150):
        assert next(cron_string_iterator(time.time(), each, "Europe/Madrid")) is not None, each


@pytest.mark.parametrize(
    "expression",
    [
        "0 3 1 */3 *",
        "0 6 * * 1",
        "*/15 8-18 * * mon-fri",
        "0 3 L * *",
        "0 3 * * 1#1",
        "0 3 * * L5",
        "0 3 29 2 *",
        "0 3 31 1,3 *",
        "0 0 1 jan,jul *",
        "5,35 * * * *",
        "0 3 * * fri-mon",
        "0 3 * * 7",
    ],
)
def test_usual_expressions_are_accepted(expression: str) -> None:
    assert (accepts(expression), is_valid_cron_schedule(expression)) == (True, True)


@pytest.mark.parametrize(
    ("key", "cron", "reason"),
    [
        ("automation.quarterly_cron", "0 25 * * 1", "has '25' as hour, expected 0…23"),
        ("review.cron", "0 6 * * funday", "has 'funday' as day of week"),
        ("monitoring.cron", "0 7 31 4,6 *", "has the day of month 31, which no chosen month has"),
        ("automation.quarterly_cron", "0 3 * *", "is not a cron expression with five fields"),
    ],
)
def test_a_refused_cron_is_named_with_its_key(tmp_path: Path, key: str, cron: str, reason: str) -> None:
    profile = tmp_path / "configs" / "test.yaml"
    profile.parent.mkdir()
    section, name = key.split(".")
    profile.write_text(
        f"work_folder: work\nlake: {{url: lake}}\nrecordings: {{folder: r}}\ncorpus: {{conventions: {V1}}}\n"
        f"training: {{recipe: {V1}}}\nrelease: {{store: {{url: cdn}}}}\n{section}: {{{name}: '{cron}'}}\n",
        "utf-8",
    )
    with pytest.raises(SettingsError) as found:
        load_settings(profile, {})
    assert f"key {key}" in str(found.value)
    assert reason in str(found.value)


def test_every_two_weeks_needs_a_weekly_cron() -> None:
    assert AutomationSettings(quarterly_cron="0 3 * * 1", retrain_every_weeks=2).retrain_every_weeks == 2
    with pytest.raises(ValueError, match="does not fire exactly once a week"):
        AutomationSettings(retrain_every_weeks=2)
    with pytest.raises(ValueError, match="does not fire exactly once a week"):
        AutomationSettings(quarterly_cron="0 3 * * 1,4", retrain_every_weeks=2)


@pytest.mark.parametrize(
    ("expression", "weekly"),
    [("0 3 * * 1", True), ("0 3 * * SUN", True), ("0 3 * * *", False), ("*/5 3 * * 1", False), ("0 3 1 * 1", False)],
)
def test_weekly_crons_fire_once_a_week(expression: str, weekly: bool) -> None:
    assert is_weekly(expression) == weekly


def test_the_weeks_are_counted_from_the_given_day() -> None:
    every = AutomationSettings(quarterly_cron="0 3 * * 1", retrain_every_weeks=2, retrain_weeks_from=date(2026, 11, 23))
    assert every.find_training_day(date(2026, 11, 23)) == date(2026, 11, 23)
    assert every.find_training_day(date(2026, 11, 30)) == date(2026, 12, 7)
    assert every.find_training_day(date(2026, 11, 9)) == date(2026, 11, 9)
    assert every.find_training_day(date(2026, 11, 2)) == date(2026, 11, 9)


@pytest.mark.parametrize("start", [date(2026, 11, 20), date(2026, 11, 27)], ids=["before a week that counts", "after"])
def test_a_training_every_two_weeks_is_strict_over_the_end_of_two_years(start: date) -> None:
    settings = AutomationSettings(quarterly_cron="30 2 * * 1", retrain_every_weeks=2)
    first = datetime(start.year, start.month, start.day, tzinfo=UTC)
    fires = cron_string_iterator(first.timestamp(), settings.quarterly_cron, "Europe/Madrid")
    days = [moment.date() for moment in takewhile(lambda moment: moment < first + timedelta(days=731), fires)]
    trained = [day for day in days if settings.find_training_day(day) == day]
    assert len(trained) == 52
    assert {later - earlier for earlier, later in pairwise(trained)} == {timedelta(days=14)}
    assert {each.year for each in trained} == {2026, 2027, 2028}
    assert date(2026, 12, 7) in trained  # whatever the day of the start
