"""Each rule of the advice on inputs made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from habla_ml.evaluation.promotion.advice import (
    Advice,
    AdviceInputs,
    Forecast,
    LatestVersion,
    TermErrorShare,
    advise,
)
from habla_ml.evaluation.promotion.learning_curve import CurvePoint, LearningCurve, fit_learning_curve
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import AdviceSettings

SETTINGS = AdviceSettings()


def fit_power_law(hours: list[float], exponent: float) -> LearningCurve:
    points = [CurvePoint(f"v{at}", each, 0.4 * (1 + each / 3) ** -exponent) for at, each in enumerate(hours)]
    return fit_learning_curve(points, np.eye(len(hours)) * 0.01**2, seed_log_sd=0.01)


STEEP = fit_power_law([0, 5, 10, 20], 0.4)
FLAT = fit_power_law([0, 10, 20, 40, 80], 0.02)


def make_latest_version(low: float = 0.2, value: float = 0.35, **fields: Any) -> LatestVersion:
    given = {
        "name": "v3",
        "improvement": Interval(low, value, value + 0.1),
        "verdict": "deploy",
        "main_reason": "Errors fell by a lot.",
        "trained_hours": 10.4,
        "hours_since": 0.0,
    }
    return LatestVersion(**{**given, **fields})


def make_inputs(**fields: Any) -> AdviceInputs:
    given = {
        "base_wer": Interval(0.25, 0.3, 0.35),
        "test_words": 4000,
        "test_sessions": 9,
        "hours": 14.2,
        "months": 4.0,
        "latest": None,
        "most_frequent_error": TermErrorShare(term="que", share=0.04),
    }
    return AdviceInputs(**{**given, **fields})


def join_reasons(advice: Advice) -> str:
    return "\n".join(advice.reasons).replace("\u00a0", " ")


def test_a_good_base_model_is_not_fine_tuned() -> None:
    found = advise(make_inputs(base_wer=Interval(0.11, 0.13, 0.145)), None, SETTINGS)
    assert found.verdict == "do_not"
    assert "13.0 % of the words wrong (11.0 to 14.5), below the 15 %" in found.reasons[0].replace("\u00a0", " ")
    assert "inside the interval" not in join_reasons(found)
    unsure = advise(make_inputs(base_wer=Interval(0.11, 0.13, 0.2)), None, SETTINGS)
    assert "the bound is inside the interval" in unsure.reasons[0]


def test_a_base_model_at_the_bound_is_fine_tuned() -> None:
    found = advise(make_inputs(base_wer=Interval(0.1, 0.15, 0.2)), None, SETTINGS)
    assert found.verdict == "fine_tune"
    assert "above the 15 % from which fine-tuning pays" in join_reasons(found)


def test_as_many_hours_as_are_needed_are_enough() -> None:
    found = advise(make_inputs(hours=10.0), None, SETTINGS)
    assert found.verdict == "fine_tune"
    assert "There are 10.0 usable hours from 4.0 months of use; 10 are needed." in found.reasons


@pytest.mark.parametrize(("share", "verdict"), [(0.51, "do_not"), (0.5, "fine_tune")])
def test_a_single_term_goes_into_the_vocabulary(share: float, verdict: str) -> None:
    found = advise(make_inputs(most_frequent_error=TermErrorShare(term="perímetro", share=share)), None, SETTINGS)
    assert found.verdict == verdict
    if verdict == "do_not":
        assert "add 'perímetro' to the vocabulary" in found.headline
        assert "51 %" in join_reasons(found)


def test_too_few_hours_give_the_remaining_months() -> None:
    found = advise(make_inputs(hours=6.0, months=3.0), None, SETTINGS)
    assert (found.verdict, found.headline) == ("collect_more", "Do not fine-tune yet: 6.0 of 10 hours")
    assert found.reasons[0] == (
        "There are 6.0 usable hours from 3.0 months of use; 10 are needed. At this pace that takes about 2 more months."
    )


def test_a_measured_improvement_overrides_the_rule_of_thumb() -> None:
    found = advise(make_inputs(hours=6.0, latest=make_latest_version(low=0.05)), STEEP, SETTINGS)
    assert found.verdict == "fine_tune"
    assert "6.0 usable hours, fewer than the 10 of the rule of thumb" in join_reasons(found)
    unsure = advise(make_inputs(hours=6.0, latest=make_latest_version(low=-0.01)), STEEP, SETTINGS)
    assert unsure.verdict == "collect_more"
    assert "6.0 of 10 hours" in unsure.headline


def test_without_a_version_the_advice_is_to_train_the_first_without_a_forecast() -> None:
    found = advise(make_inputs(), None, SETTINGS)
    assert (found.verdict, found.forecasts) == ("fine_tune", ())
    assert "There is no forecast" in join_reasons(found)
    assert "14.2 usable hours from 4.0 months of use; 10 are needed" in join_reasons(found)


def test_a_flat_curve_stops_collecting() -> None:
    found = advise(make_inputs(latest=make_latest_version()), FLAT, SETTINGS)
    assert found.verdict == "fine_tune"
    assert found.headline.startswith("Stop collecting: more speech")
    assert found.forecasts[-1].probability < 0.5
    assert "20 more hours would remove at least 10 %" in join_reasons(found)


@pytest.mark.parametrize(
    ("latest", "verdict", "headline"),
    [
        (make_latest_version(low=-0.1, value=0.02), "do_not", "it did not help"),
        (
            make_latest_version(verdict="collect_more", main_reason="Errors fell by 12 %."),
            "do_not",
            "v3 helps too little",
        ),
        (
            make_latest_version(verdict="keep", main_reason="It is not probably better."),
            "do_not",
            "Stop collecting: v3 is not shown to be better than the release",
        ),
        (
            make_latest_version(verdict="refuse", main_reason="It forgets Castilian."),
            "fine_tune",
            "Stop collecting and fine-tune",
        ),
    ],
)
def test_a_flat_curve_after_a_version_that_was_not_released(latest: LatestVersion, verdict: str, headline: str) -> None:
    found = advise(make_inputs(latest=latest), FLAT, SETTINGS)
    assert found.verdict == verdict
    assert headline in found.headline


def test_rates_that_follow_no_curve_give_no_forecast() -> None:
    points = [CurvePoint("base", 0, 0.4), CurvePoint("v1", 5, 0.2), CurvePoint("v2", 10, 0.3)]
    rising = fit_learning_curve(points, np.eye(3) * 0.02**2)
    found = advise(make_inputs(latest=make_latest_version()), rising, SETTINGS)
    assert found.forecasts == ()
    assert "do not follow a learning curve" in join_reasons(found)
    assert "v1 20.0 % at 5.0 h, v2 30.0 % at 10.0 h" in join_reasons(found)
    assert "it needs the base model" not in join_reasons(found)


def test_the_settings_decide_what_a_flat_curve_is() -> None:
    easier = AdviceSettings(worth_removing=0.0)
    assert "Stop" not in advise(make_inputs(latest=make_latest_version()), FLAT, easier).headline
    harder = AdviceSettings(worth_removing=0.9)
    assert "Stop" in advise(make_inputs(latest=make_latest_version()), STEEP, harder).headline


def test_a_steep_curve_gives_a_forecast_for_each_amount() -> None:
    found = advise(make_inputs(latest=make_latest_version()), STEEP, SETTINGS)
    assert (found.verdict, found.headline) == ("fine_tune", "Fine-tune: v3 is better than the base model")
    assert [(each.more_hours, each.hours) for each in found.forecasts] == [(5, 25), (10, 30), (20, 40)]
    assert "35 % fewer errors than the base model (95 % interval 20 % to 45 %)." in join_reasons(found)
    for each in found.forecasts:
        assert each.reduction == STEEP.reduction(each.more_hours)
        assert each.wer == STEEP.wer(each.more_hours)
        assert each.probability == STEEP.probability(each.more_hours, 0.1)


@pytest.mark.parametrize(
    ("latest", "verdict", "headline"),
    [
        (
            make_latest_version(verdict="collect_more", main_reason="Errors fell by 12 %."),
            "collect_more",
            "not enough yet",
        ),
        (
            make_latest_version(verdict="keep", main_reason="It is not probably better."),
            "fine_tune",
            "v3 helps, but is not shown to be better than the release",
        ),
        (
            make_latest_version(verdict="refuse", main_reason="It forgets Castilian."),
            "fine_tune",
            "v3 helps, but has a regression",
        ),
        (make_latest_version(low=-0.02, verdict="refuse"), "collect_more", "not significantly better"),
        (make_latest_version(improvement=None, verdict="refuse"), "collect_more", "not significantly better"),
    ],
)
def test_the_latest_version_decides_if_more_hours_help(latest: LatestVersion, verdict: str, headline: str) -> None:
    found = advise(make_inputs(latest=latest), STEEP, SETTINGS)
    assert found.verdict == verdict
    assert headline in found.headline
    if latest.improvement and latest.improvement.low > 0:
        assert latest.main_reason in found.reasons


def test_the_reasons_say_what_was_measured_and_what_the_bounds_are() -> None:
    steep = join_reasons(advise(make_inputs(latest=make_latest_version()), STEEP, SETTINGS))
    assert "20 more hours are expected to remove" in steep
    assert "would remove at least" not in steep
    assert "10 are needed" in steep
    early = join_reasons(advise(make_inputs(hours=9.9, latest=make_latest_version()), STEEP, SETTINGS))
    assert "are needed" not in early, "a measured improvement is stronger than the rule of thumb"
    unsure = join_reasons(advise(make_inputs(latest=make_latest_version(low=0.0)), STEEP, SETTINGS))
    assert "35 % fewer errors than the base model (95 % interval 0 % to 45 %), which is not significant." in unsure
    worse = make_latest_version(improvement=Interval(-0.3, -0.2, -0.1))
    assert "20 % more errors than the base model (95 % interval 10 % to 30 %)." in join_reasons(
        advise(make_inputs(latest=worse), STEEP, SETTINGS)
    )
    maybe_worse = make_latest_version(improvement=Interval(-0.3, -0.1, 0.05))
    assert (
        "10 % more errors than the base model (95 % interval -5 % to 30 %), which is not significant."
        in join_reasons(advise(make_inputs(latest=maybe_worse), STEEP, SETTINGS))
    )
    nearly = join_reasons(advise(make_inputs(base_wer=Interval(0.1, 0.1497, 0.2)), None, SETTINGS))
    assert "14.97 % of the words wrong (10.0 to 20.0), below the 15 %" in nearly
    at_bound = join_reasons(advise(make_inputs(base_wer=Interval(0.15, 0.2, 0.3)), None, SETTINGS))
    assert "the bound is inside the interval" not in at_bound


@pytest.mark.parametrize(
    ("months", "expected"),
    [
        (1.0, "from 1.0 months of use; 10 are needed. At this pace that takes about 1 more months."),
        (0.9, "from less than a month of use; 10 are needed."),
    ],
)
def test_a_pace_is_told_after_a_month(months: float, expected: str) -> None:
    found = advise(make_inputs(hours=7.0, months=months), None, SETTINGS)
    assert found.reasons[0] == f"There are 7.0 usable hours {expected}"


def test_hours_since_the_latest_training_are_mentioned() -> None:
    assert "6.5 usable hours are new since v3" in join_reasons(
        advise(make_inputs(latest=make_latest_version(hours_since=6.5)), STEEP, SETTINGS)
    )
    assert "are new since" not in join_reasons(
        advise(make_inputs(latest=make_latest_version(hours_since=0.5)), STEEP, SETTINGS)
    )


def test_without_a_test_set_the_advice_is_to_collect_more() -> None:
    found = advise(make_inputs(base_wer=None, test_words=0, test_sessions=0), None, SETTINGS)
    assert found.verdict == "collect_more"
    assert "not scored on any test words" in found.reasons[0]


def test_notes_are_last_and_reasons_are_unique() -> None:
    found = advise(
        make_inputs(latest=make_latest_version(), notes=("The versions differ in recipe.",)), STEEP, SETTINGS
    )
    assert found.reasons[-1] == "The versions differ in recipe."
    assert len(set(found.reasons)) == len(found.reasons)


@pytest.mark.parametrize(("probability", "words"), [(0.996, "over 99 %"), (0.004, "under 1 %"), (0.35, "35 %")])
def test_no_forecast_is_certain(probability: float, words: str) -> None:
    rate = Interval(0.1, 0.2, 0.3)
    forecast = Forecast(more_hours=5, hours=15, wer=rate, reduction=rate, probability=probability)
    assert forecast.probability_text.replace("\u00a0", " ") == words
