"""The demo's two phases must fit its own rules: enough test sessions, and enough growth for a second version."""

from pathlib import Path

import yaml

from habla_ml.demo.lessons import FIRST_LESSONS, MORE_LESSONS
from habla_ml.settings.data import SplitSettings
from habla_ml.settings.models import PromotionSettings
from habla_ml.settings.sections import AutomationSettings

DEMO = yaml.safe_load((Path(__file__).resolve().parents[2] / "configs" / "demo.yaml").read_text())
SPLITS = SplitSettings(**DEMO["splits"])
GROWTH_HOURS = AutomationSettings(**DEMO["automation"]).growth_hours
FEWEST_TEST_SESSIONS = PromotionSettings(**DEMO.get("promotion", {})).fewest_test_sessions
SHORTEST_MEAN_SEGMENT_S = 2.5


def test_each_phase_has_enough_test_sessions_for_its_verdict() -> None:
    first, more = (plan.days * plan.sessions_per_day for plan in (FIRST_LESSONS, MORE_LESSONS))
    assert first * SPLITS.test >= FEWEST_TEST_SESSIONS + 1
    assert (first + more) * SPLITS.test >= 16
    assert more >= 2 * first, "v2 needs clearly more speech than v1 to be better with any seed"


def test_each_phase_has_the_hours_that_the_growth_sensor_waits_for() -> None:
    for plan in (FIRST_LESSONS, MORE_LESSONS):
        segments = 0.8 * plan.days * plan.sessions_per_day * plan.segments_per_session
        assert segments * SHORTEST_MEAN_SEGMENT_S / 3600 > GROWTH_HOURS
