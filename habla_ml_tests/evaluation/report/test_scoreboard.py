import pytest

from habla_ml.evaluation.comparison.compare import compare_decoded_models
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.metrics.inputs import DecodedModel, OptionalMeasurements
from habla_ml.evaluation.report.figures import dollars, factor
from habla_ml.evaluation.report.scoreboard import NO_WINNER, ScoreboardRow, build_scoreboard, compare_with_bound
from habla_ml.evaluation.report.serving import describe_speed_run
from habla_ml.evaluation.scoring.rates import format_percent_beside
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import AcceptableSettings
from habla_ml.transcription.options import DecodingOptions, HostedOptions
from habla_ml_tests.testing.full_comparison import make_full_comparison, make_speed_run
from habla_ml_tests.testing.simulated_hypotheses import (
    TEST_PROVENANCE,
    TEST_SETTINGS,
    make_comparison,
    make_utterances,
    simulate_hypotheses,
)


def row(comparison: Comparison, metric: str, acceptable: AcceptableSettings | None = None) -> ScoreboardRow:
    return next(
        each for each in build_scoreboard(comparison, acceptable or AcceptableSettings()) if each.metric == metric
    )


@pytest.fixture(scope="module")
def two_models() -> Comparison:
    return make_comparison(make_utterances(8, 12), {"base": 0.4, "candidate": 0.1})


def with_values(comparison: Comparison, metric: str, *values: Interval | None) -> Comparison:
    """Replace a metric of each model and drop its paired difference."""
    models = [
        model.model_copy(update={"metrics": replace_metric(model.metrics, metric, value)})
        for model, value in zip(comparison.models, values, strict=True)
    ]
    return with_difference(comparison.model_copy(update={"models": tuple(models)}), metric, None)


def with_difference(comparison: Comparison, metric: str, points: Interval | None) -> Comparison:
    """Replace the paired difference of a metric."""
    changes = [
        each.model_copy(update={"metrics": replace_metric(each.metrics, metric, points)}) for each in comparison.changes
    ]
    return comparison.model_copy(update={"changes": tuple(changes)})


def replace_metric(metrics: dict[str, Interval], name: str, value: Interval | None) -> dict[str, Interval]:
    others = {key: each for key, each in metrics.items() if key != name}
    return others if value is None else {**others, name: value}


def measured_once(*values: float) -> list[Interval]:
    return [Interval(each, each, each) for each in values]


def test_the_paired_difference_decides_though_the_intervals_overlap(two_models: Comparison) -> None:
    assert row(with_difference(two_models, "wer", Interval(-3, -2, -1)), "WER").winner == "v2"
    assert row(with_difference(two_models, "wer", Interval(-3, -1, 0.1)), "WER").winner == NO_WINNER


def test_without_a_paired_difference_intervals_must_not_overlap(two_models: Comparison) -> None:
    apart = with_values(two_models, "orthographic_wer", Interval(0.3, 0.35, 0.4), Interval(0.1, 0.2, 0.29))
    assert row(apart, "WER as written").winner == "v2"
    overlapping = with_values(two_models, "orthographic_wer", Interval(0.3, 0.35, 0.4), Interval(0.1, 0.2, 0.31))
    assert row(overlapping, "WER as written").winner == NO_WINNER


def test_more_is_better_for_f1(two_models: Comparison) -> None:
    f1 = with_values(two_models, "punctuation_f1", Interval(0.45, 0.6, 0.75), Interval(0.65, 0.8, 0.95))
    better = with_difference(f1, "punctuation_f1", Interval(5.0, 20.0, 35.0))
    assert row(better, "punctuation F1").winner == "v2"
    unclear = with_difference(f1, "punctuation_f1", Interval(-1.0, 20.0, 35.0))
    assert row(unclear, "punctuation F1").winner == NO_WINNER


def test_a_single_measurement_needs_a_margin_and_a_second_model(two_models: Comparison) -> None:
    def winner(*sizes: Interval | None) -> str:
        return row(with_values(two_models, "peak_memory_bytes", *sizes), "peak memory").winner

    assert winner(*measured_once(1000, 740)) == "v2"
    assert winner(*measured_once(300, 250)) == NO_WINNER, "equal models differ as much"
    assert winner(None, *measured_once(740)) == "–"
    assert not row(two_models, "peak GPU memory").is_measured


def test_a_difference_in_time_that_is_shown_but_of_no_use_has_no_winner(two_models: Comparison) -> None:
    timed = with_values(two_models, "real_time_factor_p50", *measured_once(0.1, 0.09))

    def winner(low: float, high: float) -> str:
        changed = with_difference(timed, "real_time_factor_p50", Interval(low, (low + high) / 2, high))
        return row(changed, "real-time factor p50").winner

    assert (winner(-12, -6), winner(-12, -4)) == ("v2", NO_WINNER)
    assert (winner(6, 12), winner(4, 12)) == ("base", NO_WINNER)


def test_small_figures_keep_two_digits_and_bounds_all_of_theirs(two_models: Comparison) -> None:
    assert factor(Interval(0.0003, 0.0004, 0.0005)) == "0.00040\u00a0× (0.00030–0.00050)"
    assert factor(Interval(0.019, 0.021, 0.024)) == "0.021\u00a0× (0.019–0.024)"
    assert factor(Interval(1.2, 1.35, 1.6)) == "1.35\u00a0× (1.20–1.60)"
    assert [dollars(each) for each in (0.0, 0.00027, 0.0134, 1.346)] == [
        "0.00\u00a0USD",
        "0.00027\u00a0USD",
        "0.013\u00a0USD",
        "1.35\u00a0USD",
    ]
    assert row(two_models, "WER", AcceptableSettings(wer=0.125)).bound == "below 12.5\u00a0%"


@pytest.mark.parametrize(
    ("share", "shown"), [(0.1, "10"), (0.25, "25"), (0.298, "29.8"), (0.3004, "30.04"), (0.3, "30"), (0.2999999, "30")]
)
def test_a_share_beside_its_bound_has_the_digits_that_tell_them_apart(share: float, shown: str) -> None:
    assert format_percent_beside(share, 0.3) == f"{shown}\u00a0%"


def test_a_bound_is_met_missed_or_within_the_interval() -> None:
    assert compare_with_bound(Interval(0.05, 0.08, 0.0999), 0.1) == "met"
    assert compare_with_bound(Interval(0.05, 0.08, 0.12), 0.1) == "unsure"
    assert compare_with_bound(Interval(0.1, 0.15, 0.2), 0.1) == "missed"
    assert compare_with_bound(None, 0.1) is None
    assert compare_with_bound(Interval(0, 0, 0), None) is None


def test_bounds_are_those_of_the_settings_and_a_service_has_its_own_price(two_models: Comparison) -> None:
    assert row(two_models, "WER").bound == "below 10\u00a0%"
    assert row(two_models, "WER", AcceptableSettings(wer=None)).bound == ""
    assert row(two_models, "real-time factor p95").bound == "below 5\u00a0×"
    own, hosted = with_values(two_models, "cost_per_audio_hour_usd", *measured_once(1.0, 1.0)).models
    hosted = hosted.model_copy(update={"decoding": HostedOptions(engine="deepgram")})
    found = row(two_models.model_copy(update={"models": (own, hosted)}), "cost per hour of audio")
    assert [each.status for each in found.cells] == ["missed", "met"]
    assert found.bound == "below 0.50\u00a0USD or 1.50\u00a0USD"


@pytest.mark.long
def test_the_winners_are_the_models_without_a_better_one() -> None:
    close = make_comparison(make_utterances(8, 12), {"base": 0.4, "previous": 0.15, "candidate": 0.15})
    found = row(close, "WER")
    assert (found.winners, found.losers, found.winner) == (("v1", "v2"), ("base",), "v1, v2")
    equal = make_comparison(make_utterances(8, 12), {"base": 0.15, "previous": 0.15, "candidate": 0.15})
    assert row(equal, "WER").winner == NO_WINNER
    clear = make_comparison(make_utterances(8, 12), {"base": 0.4, "previous": 0.3, "candidate": 0.1})
    assert row(clear, "WER").winner == "v2"


def test_without_a_speed_run_there_is_no_speed_and_with_one_the_paired_interval_decides() -> None:
    full, _ = make_full_comparison()
    assert "all models in turn, on 2 × Example CPU" in describe_speed_run(full)
    untimed = make_comparison(make_utterances(8, 12), {"base": 0.4, "candidate": 0.1})
    names = ("real-time factor p50", "real-time factor p95", "peak memory", "cost per hour of audio")
    assert not any(row(untimed, each).is_measured for each in names)
    assert "were not measured" in describe_speed_run(untimed)
    slower = compare_decoded_models(
        make_utterances(4, 4),
        [
            DecodedModel(
                name, "compared", name * 10, DecodingOptions(), simulate_hypotheses(make_utterances(4, 4), 0.2, 1)
            )
            for name in ("fast", "slow")
        ],
        TEST_SETTINGS.model_copy(update={"compute_usd_per_hour": 0.6}),
        TEST_PROVENANCE,
        OptionalMeasurements(speed=make_speed_run(["fast", "slow"], slower=3.0)),
    )
    assert {each: row(slower, each).winner for each in names} == {
        names[0]: "fast",
        names[1]: "fast",
        names[2]: NO_WINNER,
        names[3]: "fast",
    }
