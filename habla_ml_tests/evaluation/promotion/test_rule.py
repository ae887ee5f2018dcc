from functools import cache
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.evaluation.comparison.annotator_difference import AnnotatorDifference
from habla_ml.evaluation.comparison.format_scores import FormatScore, FormatScores
from habla_ml.evaluation.comparison.records import Change, Comparison, Parity, SliceChange
from habla_ml.evaluation.comparison.superiority import Superiority
from habla_ml.evaluation.metrics.registry import METRICS
from habla_ml.evaluation.promotion.guards import GuardOutcome, judge_loss
from habla_ml.evaluation.promotion.replacement import count_missing_sessions
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.evaluation.scoring.statistics import Interval, compute_t_quantile
from habla_ml.settings import PromotionSettings
from habla_ml.settings.models import GuardName
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances, simulate_hypotheses

RULE = PromotionSettings()


@cache
def measure() -> Comparison:
    return make_comparison(
        make_utterances(8, 6),
        {"base": 0.4, "previous": 0.25, "candidate": 0.2},
        {"base": 0.1, "previous": 0.1, "candidate": 0.1},
    )


UNHARMED = {"deletions": Interval(-1, 0, 1), "insertions": Interval(-1, 0, 1)}


def make_rule_comparison(
    relative: tuple[float, float, float],
    forgotten: tuple[float, float, float] | None = (-1.0, 0.0, 1.0),
    against_previous: tuple[float, float, float] | None = (-3.0, -1.0, 1.0),
    sessions: int = 8,
    probability: float = 0.9,
) -> Comparison:
    """A stored comparison with these figures (low, value, high); `probability` is that of beating the release."""
    unharmed = UNHARMED if forgotten is None else {**UNHARMED, "out_of_domain_wer": Interval(*forgotten)}
    changes = [
        Change(
            of="v2",
            against="base",
            role="base",
            relative_improvement=Interval(*relative),
            metrics={**unharmed, "wer": Interval(-9, -5, -1)},
            smallest_detectable_points=2.0,
            superiority=Superiority(probability=0.999, standard_error_points=2.0, effective_units=sessions),
        )
    ]
    if against_previous is not None:
        changes.append(
            Change(
                of="v2",
                against="v1",
                role="previous",
                relative_improvement=Interval(-0.1, 0, 0.1),
                metrics={**unharmed, "wer": Interval(*against_previous)},
                smallest_detectable_points=2.0,
                superiority=Superiority(probability=probability, standard_error_points=1.5, effective_units=sessions),
            )
        )
    test = measure().test.model_copy(update={"sessions": sessions})
    return measure().model_copy(update={"changes": tuple(changes), "test": test})


@pytest.mark.parametrize(
    ("comparison", "verdict", "reason"),
    [
        (make_rule_comparison((0.31, 0.45, 0.55)), "deploy", "Errors fell by 45 %"),
        (make_rule_comparison((0.02, 0.31, 0.55)), "deploy", "above the bound of 30 %"),
        (make_rule_comparison((0.20, 0.30, 0.40)), "collect_more", "a marginal gain"),
        (make_rule_comparison((0.10, 0.1996, 0.30)), "collect_more", "Errors fell by 19.96 %, below 20 %."),
        (make_rule_comparison((0.10, 0.20, 0.30)), "collect_more", "a marginal gain"),
        (make_rule_comparison((0.00, 0.45, 0.60)), "refuse", "not significant"),
        (
            make_rule_comparison((-0.30, -0.20, -0.10)),
            "refuse",
            "20 % more errors than base (95 % interval 10 % to 30 %)",
        ),
        (
            make_rule_comparison((0.31, 0.45, 0.55), forgotten=(0.5, 2.1, 4.0)),
            "refuse",
            "errors on general Spanish than base: +2.1 points",
        ),
        (
            make_rule_comparison((0.31, 0.45, 0.55), forgotten=(-0.1, 2.1, 4.0)),
            "deploy",
            "WER on general Spanish against base,",
        ),
        (
            make_rule_comparison((0.31, 0.45, 0.55), forgotten=None),
            "deploy",
            "WER on general Spanish against base (not measured)",
        ),
        (
            make_rule_comparison((0.31, 0.45, 0.55), against_previous=(-2.0, 1.2, 4.0), probability=0.28),
            "keep",
            "better than the released v1 only with a probability of 0.28; 0.8 is required",
        ),
        (make_rule_comparison((0.31, 0.45, 0.55), probability=0.79), "keep", "more test sessions"),
        (
            make_rule_comparison((0.31, 0.45, 0.55), probability=0.80),
            "deploy",
            "better than the released v1 with a probability of 0.80",
        ),
        (make_rule_comparison((0.10, 0.20, 0.30), probability=0.5), "keep", "a marginal gain"),
        (make_rule_comparison((0.00, 0.45, 0.60), probability=0.5), "refuse", "not significant"),
        (make_rule_comparison((0.31, 0.45, 0.55), against_previous=None), "deploy", "Errors fell by 45 %"),
        (make_rule_comparison((0.31, 0.45, 0.55), sessions=4), "collect_more", "has 4 sessions"),
    ],
)
def test_each_bound_gives_its_verdict_and_reason(comparison: Comparison, verdict: str, reason: str) -> None:
    decision = decide(comparison, RULE)
    assert decision.verdict == verdict
    assert any(reason in each.replace("\u00a0", " ") for each in decision.reasons), decision.reasons
    assert decision.evidence == comparison.digest()


def test_a_clear_gain_measured_on_speech_is_deployed() -> None:
    assert decide(measure(), RULE).verdict == "deploy"


def test_the_base_model_as_candidate_is_refused() -> None:
    from habla_ml.evaluation.comparison.compare import compare_decoded_models
    from habla_ml.evaluation.metrics.inputs import DecodedModel
    from habla_ml_tests.testing.simulated_hypotheses import TEST_PROVENANCE, TEST_SETTINGS

    utterances = make_utterances(8, 6)
    hypotheses = simulate_hypotheses(utterances, 0.4, 1)
    for digest, reason in (("1" * 64, "same files as the base model"), ("2" * 64, "not significant")):
        null = compare_decoded_models(
            utterances,
            [
                DecodedModel("base", "base", "1" * 64, DecodingOptions(), hypotheses),
                DecodedModel("v1", "candidate", digest, DecodingOptions(), hypotheses),
            ],
            TEST_SETTINGS,
            TEST_PROVENANCE,
        )
        decision = decide(null, RULE)
        assert decision.verdict == "refuse"
        assert reason in decision.reasons[0]


def test_without_a_test_set_a_base_or_a_candidate_nothing_is_released() -> None:
    for comparison, reason in (
        (make_comparison([], {"base": 0.4, "candidate": 0.2}), "no test set"),
        (make_comparison(make_utterances(8, 6), {"candidate": 0.2}), "base model was not scored"),
        (make_comparison(make_utterances(8, 6), {"base": 0.2}), "no candidate"),
    ):
        decision = decide(comparison, RULE)
        assert decision.verdict == "refuse"
        assert reason in decision.reasons[0]


def test_a_candidate_without_a_measured_difference_to_the_base_is_refused() -> None:
    comparison = make_rule_comparison((0.31, 0.45, 0.55))
    unknown = comparison.changes[0].model_copy(update={"relative_improvement": None})
    for changes in ((), (unknown,), (unknown, comparison.changes[1])):
        decision = decide(comparison.model_copy(update={"changes": changes}), RULE)
        assert (decision.verdict, decision.reasons[0]) == (
            "refuse",
            "The candidate was not compared with the base model.",
        )


def test_a_format_at_its_bound_is_released_and_one_above_it_is_left_out() -> None:
    served = measure().models[-1]
    scores = [
        FormatScore(
            format="coreml",
            artefact=str(at) * 64,
            quantisation="int4",
            size_bytes=1,
            profile="phone",
            decoding=DecodingOptions(),
            served_decoding=DecodingOptions(),
            clips=40,
            words=300,
            wer=served.wer,
            served_wer=served.wer,
            points=Interval(low, 9.0, 15.0),
            faults=0,
            real_time_factor=None,
            is_emulated=True,
            hardware="2 CPU cores",
            run="0" * 64,
        )
        for at, low in enumerate((RULE.format_loss_points, RULE.format_loss_points + 0.1))
    ]
    formats = FormatScores(clips=40, test_clips=48, scores=tuple(scores))
    decision = decide(measure().model_copy(update={"formats": formats}), RULE)
    assert decision.verdict == "deploy"
    assert [each.artefact for each in decision.withheld] == ["1" * 64]


def test_different_evidence_has_a_different_digest() -> None:
    assert (
        decide(make_rule_comparison((0.3, 0.4, 0.5)), RULE).evidence
        != decide(make_rule_comparison((0.3, 0.4, 0.6)), RULE).evidence
    )


SHARE = st.floats(-1, 1, allow_nan=False)


@given(st.lists(SHARE, min_size=3, max_size=3), st.floats(-10, 10), st.floats(0, 1), st.integers(1, 20))
def test_a_candidate_is_deployed_only_within_all_bounds(
    figures: list[float], forgotten: float, probability: float, sessions: int
) -> None:
    low, value, high = sorted(figures)
    comparison = make_rule_comparison((low, value, high), (forgotten,) * 3, sessions=sessions, probability=probability)
    decision = decide(comparison, RULE)
    allowed = (
        low > 0
        and value > RULE.deploy_above_relative
        and forgotten <= RULE.out_of_domain_loss_points
        and probability >= RULE.replace_when_better_with
        and sessions >= RULE.fewest_test_sessions
    )
    assert (decision.verdict == "deploy") == allowed
    assert decision.reasons


@pytest.mark.long
@given(st.lists(SHARE, min_size=3, max_size=3), st.floats(0, 0.5))
def test_a_larger_gain_never_gives_a_worse_verdict(figures: list[float], more: float) -> None:
    order = ["refuse", "collect_more", "keep", "deploy"]
    low, value, high = sorted(figures)
    for probability in (0.5, 0.9):
        before = decide(make_rule_comparison((low, value, high), probability=probability), RULE).verdict
        larger = make_rule_comparison((low + more, value + more, high + more), probability=probability)
        after = decide(larger, RULE).verdict
        assert order.index(after) >= order.index(before)


def make_harmed_comparison(slices: tuple[SliceChange, ...] = (), **metrics: Interval) -> Comparison:
    """Return a version that is better than the base overall and worse in one metric or slice."""
    good = make_rule_comparison((0.35, 0.45, 0.55))
    change = good.changes[0]
    worse = change.model_copy(update={"slices": slices, "metrics": {**change.metrics, **metrics}})
    return good.model_copy(update={"changes": (worse, *good.changes[1:])})


QUIET = SliceChange(
    dimension="loudness", name="quiet (below -35 dBFS)", points=Interval(1, 8, 15), loss_lower_bound_points=0.5
)


@pytest.mark.parametrize(
    ("comparison", "reason"),
    [
        (make_harmed_comparison(deletions=Interval(1, 3, 5)), "deletes more words than base"),
        (make_harmed_comparison(non_speech_output=Interval(20, 40, 60)), "text in more clips without speech"),
        (make_harmed_comparison(invented_texts=Interval(2, 4, 6)), "invents more text"),
        (make_harmed_comparison(slices=(QUIET,)), "slice loudness 'quiet"),
        (
            make_rule_comparison((0.35, 0.45, 0.55)).model_copy(
                update={
                    "parity": Parity(
                        artefact="1" * 64,
                        checkpoint="2" * 64,
                        clips=60,
                        same_text_share=0.2,
                        points=Interval(5, 9, 14),
                    )
                }
            ),
            "The conversion changed the output",
        ),
        (
            measure().model_copy(update={"method": measure().method.model_copy(update={"scorer": "scorer-0"})}),
            "scorer-0",
        ),
    ],
)
def test_a_better_version_with_a_regression_is_refused(comparison: Comparison, reason: str) -> None:
    decision = decide(comparison, RULE)
    assert decision.verdict == "refuse"
    assert any(reason in each for each in decision.reasons)


@pytest.mark.parametrize(
    "comparison",
    [
        make_harmed_comparison(deletions=Interval(-1, 3, 5)),
        make_harmed_comparison(deletions=Interval(0.2, 0.8, 1.5)),
        make_harmed_comparison(slices=(QUIET.model_copy(update={"loss_lower_bound_points": -0.5}),)),
    ],
)
def test_a_loss_within_noise_or_its_bound_is_accepted(comparison: Comparison) -> None:
    assert decide(comparison, RULE).verdict == "deploy"


@pytest.mark.parametrize(
    ("points", "outcome"),
    [
        ((-1.0, 0.5, 2.0), "passed"),
        ((0.0, 0.0, 0.0), "passed"),
        ((-0.1, 2.1, 4.0), "not shown"),
        ((-5.0, -1.0, 3.0), "not shown"),
        ((0.1, 1.9, 4.0), "not shown"),
        ((0.1, 2.1, 4.0), "failed"),
        ((2.5, 4.0, 6.0), "failed"),
    ],
)
def test_a_guard_is_a_bound_on_an_interval(points: tuple[float, float, float], outcome: GuardOutcome) -> None:
    assert judge_loss(Interval(*points), 2.0) == outcome


def test_every_guarded_metric_has_a_name_in_the_settings() -> None:
    guarded = {each.name for each in METRICS if each.guard is not None}
    assert {*guarded, "slices", "parity"} == set(get_args(GuardName))


def test_the_decision_lists_every_guard_with_its_interval_bound_and_result() -> None:
    decision = decide(make_harmed_comparison(deletions=Interval(1, 3, 5)), RULE)
    found = {(each.name, each.against): each for each in decision.guards}
    assert found["deletions", "base"].outcome == "failed"
    assert (found["deletions", "base"].points, found["deletions", "base"].bound) == (Interval(1, 3, 5), 1.0)
    assert found["deletions", "v1"].outcome == "passed"
    assert found["deletions", "v1"].reason.startswith(f"{found['deletions', 'v1'].label.capitalize()} against v1: ")
    assert found["non_speech_output", "base"].points is None
    assert found["non_speech_output", "base"].outcome == "not shown"
    assert {"slices", "parity"} <= {name for name, _ in found}
    fine = QUIET.model_copy(update={"points": Interval(-4, -2, -1), "loss_lower_bound_points": -4.5})
    passed = {(each.name, each.against): each for each in decide(make_harmed_comparison(slices=(fine,)), RULE).guards}
    assert (passed["slices", "base"].outcome, passed["slices", "base"].points) == ("passed", Interval(-4, -2, -1))
    # Forgetting is measured against the base only.
    assert [against for name, against in found if name == "out_of_domain_wer"] == ["base"]


def test_a_guard_that_may_not_stay_unshown_asks_for_more_speech() -> None:
    comparison = make_rule_comparison((0.31, 0.45, 0.55), forgotten=(-1.0, 0.5, 4.0))
    assert decide(comparison, RULE).verdict == "deploy"
    strict = PromotionSettings(may_stay_unshown=("non_speech_output", "invented_texts", "slices", "parity"))
    decision = decide(comparison, strict)
    assert decision.verdict == "collect_more"
    assert "cannot show whether it makes more errors on general Spanish than base" in decision.reasons[0]
    assert decide(make_rule_comparison((0.31, 0.45, 0.55), forgotten=(-1.0, 0.5, 2.0)), strict).verdict == "deploy"


def test_what_would_settle_it_is_the_number_of_sessions_that_shows_the_measured_difference() -> None:
    near = make_rule_comparison((0.31, 0.45, 0.55), against_previous=(-3.0, -1.0, 1.0), probability=0.7)
    (change,) = [each for each in near.changes if each.role == "previous"]
    missing = count_missing_sessions(near, change, 0.8)
    # (t(0.8) + t(0.8)) standard errors: 1.5 points at 8 sessions is 1.5 sqrt(8 / n) at n.
    assert missing is not None
    for sessions, is_enough in ((8 + missing - 1, False), (8 + missing, True)):
        needed = 2 * compute_t_quantile(0.8, sessions - 1) * 1.5 * (8 / sessions) ** 0.5
        assert (needed <= 1.0) is is_enough
    assert any(f"about {missing} more test sessions" in each for each in decide(near, RULE).reasons)
    worse = make_rule_comparison((0.31, 0.45, 0.55), against_previous=(-2.0, 1.2, 4.0), probability=0.28)
    assert any("makes no fewer errors than v1" in each for each in decide(worse, RULE).reasons)


def test_one_session_with_nearly_all_words_is_one_session() -> None:
    utterances = make_utterances(1, 120) + [
        each for each in make_utterances(8, 1, seed=1) if each.session_id != "session-000"
    ]
    comparison = make_comparison(utterances, {"base": 0.5, "candidate": 0.1})
    assert comparison.test.sessions == 8
    decision = decide(comparison, RULE)
    assert decision.verdict != "deploy"
    assert any("1.1 effective sessions of 8" in each for each in decision.reasons), decision.reasons
    few = make_comparison(make_utterances(8, 3, words=8), {"base": 0.5, "candidate": 0.1})
    strict = PromotionSettings(fewest_test_words=10_000)
    assert (
        "The test set has 192 words; a release needs at least 10000. Correct more sessions."
        in decide(few, strict).reasons
    )


def test_too_few_words_ask_for_more_speech() -> None:
    comparison = make_comparison(make_utterances(8, 3, words=8), {"base": 0.5, "candidate": 0.1})
    assert comparison.test.words == 192
    assert any("192 words; a release needs at least 200" in each for each in decide(comparison, RULE).reasons)


def test_a_rate_that_is_too_good_to_be_true_is_an_alarm_and_is_refused() -> None:
    perfect = make_comparison(make_utterances(8, 6), {"base": 0.4, "candidate": 0.0})
    decision = decide(perfect, RULE)
    assert decision.verdict == "refuse"
    assert decision.alarms == decision.reasons[:1]
    assert "makes no error in 384 words" in decision.alarms[0]
    difference = AnnotatorDifference(wer=0.3, low=0.28, high=0.4, segments=40)
    below = measure().model_copy(update={"annotators": difference})
    decision = decide(below, RULE)
    assert decision.verdict == "refuse"
    assert "below the lower end (28.0\u00a0%) of the 30.0\u00a0% in which two people differ" in decision.alarms[0]
    above = measure().model_copy(update={"annotators": difference.model_copy(update={"low": 0.05})})
    assert decide(above, RULE).verdict == "deploy"
    assert decide(above, RULE).alarms == ()
