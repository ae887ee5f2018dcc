import pytest

from habla_ml.evaluation.comparison.records import Comparison, SliceChange
from habla_ml.evaluation.promotion.rule import Decision, Verdict, decide
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.deployment_advice import DeploymentAdvice, advise_deployment
from habla_ml.evaluation.report.scoreboard import build_scoreboard
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import AcceptableSettings, PromotionSettings
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances


@pytest.fixture(scope="module")
def better() -> Comparison:
    return make_comparison(make_utterances(8, 12), {"base": 0.4, "previous": 0.3, "candidate": 0.1})


def advice(comparison: Comparison, decision: Decision | None, override: str | None = None) -> DeploymentAdvice:
    content = ReportContent(comparison, decision, override=override)
    return advise_deployment(content, build_scoreboard(comparison, AcceptableSettings()))


def make_decision(verdict: Verdict) -> Decision:
    return Decision(verdict=verdict, reasons=(), evidence="e" * 64)


def test_a_good_candidate_is_released_with_a_rollback_command(better: Comparison) -> None:
    found = advice(better, decide(better, PromotionSettings()))
    assert found.recommendation == "Release v2."
    assert found.rollback == "habla-ml rollback --to v1"
    assert any("cdn_release" in each for each in found.migration)
    assert any("v2 is better than base and v1 in: WER" in each for each in found.trade_offs)
    assert any(each.startswith("Not measured: ") for each in found.trade_offs)


def test_models_without_a_significant_difference_are_named_together() -> None:
    close = make_comparison(make_utterances(8, 12), {"base": 0.4, "previous": 0.15, "candidate": 0.15})
    first = advice(close, make_decision("deploy")).trade_offs[0]
    assert first.startswith("base is worse, and v1 and v2 do not differ significantly, in: WER, ")


def test_a_refused_candidate_changes_nothing_without_an_override(better: Comparison) -> None:
    refused = advice(better, make_decision("refuse"))
    assert refused.recommendation == "Keep v1; do not release v2."
    assert refused.migration == ("No change: cdn_release refuses this version.",)
    overridden = advice(better, make_decision("refuse"), "Ana, 2026-11-21: only for the pilot class.")
    assert "only for the pilot class" in overridden.recommendation
    assert len(overridden.migration) > 1


def test_a_slice_that_became_worse_is_a_trade_off(better: Comparison) -> None:
    worse = SliceChange(dimension="role", name="teacher", points=Interval(1.0, 3.0, 5.0), loss_lower_bound_points=0.5)
    change = better.changes[0].model_copy(update={"slices": (worse,)})
    found = advice(better.model_copy(update={"changes": (change, *better.changes[1:])}), make_decision("refuse"))
    assert any("Worse than base on role teacher: +3.0 points, at least +0.5" in each for each in found.trade_offs)
    whole = better.slices[0]
    of_all = worse.model_copy(update={"dimension": whole.dimension, "name": whole.name})
    change = change.model_copy(update={"slices": (of_all,)})
    found = advice(better.model_copy(update={"changes": (change, *better.changes[1:])}), make_decision("refuse"))
    assert not any("Worse than base" in each for each in found.trade_offs)


def test_a_comparison_without_a_release_has_no_rollback(better: Comparison) -> None:
    models = [
        model if model.role == "base" else model.model_copy(update={"role": "compared"}) for model in better.models
    ]
    comparison = better.model_copy(update={"models": tuple(models), "changes": better.changes[:1]})
    found = advice(comparison, None)
    assert found.recommendation.startswith("Use v2 ")
    assert found.rollback == ""


def test_the_first_release_has_no_rollback_command() -> None:
    first = make_comparison(make_utterances(8, 12), {"base": 0.4, "candidate": 0.1})
    found = advice(first, make_decision("deploy"))
    assert found.rollback == ""
    assert found.migration[-1].startswith("A rollback works from the second release on")


def test_the_rollback_command_quotes_the_version_name(better: Comparison) -> None:
    models = [
        model.model_copy(update={"name": "v1; rm -rf ~"}) if model.role == "previous" else model
        for model in better.models
    ]
    found = advice(better.model_copy(update={"models": tuple(models)}), make_decision("deploy"))
    assert found.rollback == "habla-ml rollback --to 'v1; rm -rf ~'"


def test_the_rollback_command_has_the_profile_of_the_deployment(better: Comparison) -> None:
    content = ReportContent(better, make_decision("deploy"), profile_option="demo")
    found = advise_deployment(content, build_scoreboard(better, AcceptableSettings()))
    assert found.rollback == "habla-ml rollback --to v1 -p demo"
