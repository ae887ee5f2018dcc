from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.records import Comparison, read_comparison
from habla_ml.evaluation.comparison.seed_spread import SeedRun, SeedSpread, summarise_seeds
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.evaluation.report import ReportContent
from habla_ml.evaluation.report.html import render_html
from habla_ml.evaluation.report.markdown import render_markdown
from habla_ml.evaluation.report.sentences import describe_seed_spread, format_seed_spread
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import PromotionSettings
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances


@cache
def measure() -> Comparison:
    return make_comparison(make_utterances(8, 6), {"base": 0.4, "previous": 0.21, "candidate": 0.2})


def spread(*rates: float) -> SeedSpread:
    return summarise_seeds([SeedRun(version=f"v2-s{at}" if at > 1 else "v2", wer=r) for at, r in enumerate(rates, 1)])


def with_seeds(*rates: float, base: float = -10.0, previous: float = -0.4) -> Comparison:
    """The measured comparison with these rates of seeds, and these differences in points."""
    points = {"base": base, "previous": previous}
    changes = [
        each.model_copy(
            update={"metrics": {"wer": Interval(points[each.role] - 1, points[each.role], points[each.role] + 1)}}
        )
        for each in measure().changes
    ]
    return measure().model_copy(update={"seeds": spread(*rates), "changes": tuple(changes)})


def test_the_spread_of_seeds_equals_that_computed_by_hand() -> None:
    found = spread(0.20, 0.22, 0.24)
    assert [each.version for each in found.runs] == ["v2", "v2-s2", "v2-s3"]
    assert (found.lowest, found.highest) == (0.20, 0.24)
    assert found.mean == pytest.approx(0.22)
    assert found.standard_deviation == pytest.approx(0.02)
    assert found.interval.high - found.mean == pytest.approx(4.302653 * 0.02 / 3**0.5, rel=1e-5)
    assert found.interval.low == pytest.approx(2 * found.mean - found.interval.high)
    assert found.seed_noise_points == pytest.approx(100 * 4.302653 * 0.02 * 2**0.5, rel=1e-5)


def test_an_interval_of_two_distant_seeds_ends_at_zero_and_one_seed_has_no_spread() -> None:
    assert spread(0.01, 0.30).interval == Interval(0.0, 0.155, pytest.approx(0.155 + 12.7062 * 0.145, rel=1e-4))
    with pytest.raises(EvaluationError, match="at least two runs, got 1; train and score a version with another seed"):
        spread(0.2)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_the_mean_is_between_the_lowest_and_the_highest(rates: list[float]) -> None:
    found = spread(*rates)
    assert found.lowest <= found.mean + 1e-12
    assert found.mean <= found.highest + 1e-12
    assert found.interval.low <= found.mean <= found.interval.high
    assert found.seed_noise_points >= 0


def test_a_gain_beyond_the_seed_spread_differs_from_a_difference_within_it() -> None:
    sentences = describe_seed_spread(with_seeds(0.204, 0.20, 0.208))
    assert sentences.startswith("The WER over 3 training seeds is 20.4\u00a0% ± 0.4 (20.0 to 20.8).")
    assert "The gain over base (10.0 points) is 25 times the standard deviation between seeds." in sentences
    assert (
        "The difference to v1 (0.4 points) is within the variation between seeds (2.4 points), so it is no evidence "
        "for or against this training."
    ) in sentences


def test_a_loss_beyond_the_seeds_is_called_a_loss() -> None:
    sentences = describe_seed_spread(with_seeds(0.2001, 0.2, 0.1999, previous=3.0))
    assert "The loss against v1 (3.0 points) is 300 times the standard deviation between seeds." in sentences


def test_seeds_with_equal_results_have_no_spread() -> None:
    sentences = describe_seed_spread(with_seeds(0.2, 0.2, previous=0.0))
    assert "The gain over base (10.0 points) does not depend on the seed." in sentences
    assert "The difference to v1 (0.0 points) is within" in sentences


def test_a_version_with_one_seed_has_no_seed_section() -> None:
    assert describe_seed_spread(measure()) == ""
    assert "seeds" not in render_html(ReportContent(measure(), decide(measure(), PromotionSettings())))
    assert "## Seeds" not in render_markdown(ReportContent(measure()))


def test_both_forms_of_the_report_name_each_seed_and_the_json_keeps_them() -> None:
    found = with_seeds(0.204, 0.2, 0.208)
    assert found.seeds is not None
    content = ReportContent(found, decide(found, PromotionSettings()))
    html, markdown = render_html(content), render_markdown(content)
    assert describe_seed_spread(found) in html
    assert "v2-s3" in html
    assert format_seed_spread(found.seeds) in html
    assert (
        "| v2-s3 | 20.8\u00a0% |\n| mean ± standard deviation (range) | 20.4\u00a0% ± 0.4 (20.0 to 20.8) |" in markdown
    )
    assert "The WER over 3 training seeds" in markdown
    assert read_comparison(found.to_json()) == found


def test_a_repeat_is_refused() -> None:
    models = [
        each.model_copy(update={"name": "v2-s2"}) if each.role == "candidate" else each for each in measure().models
    ]
    decision = decide(measure().model_copy(update={"models": tuple(models)}), PromotionSettings())
    assert decision.verdict == "refuse"
    assert decision.reasons[0].startswith("v2-s2 repeats v2 with another seed")
