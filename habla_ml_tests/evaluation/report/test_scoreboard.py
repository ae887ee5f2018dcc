import pytest

from habla_ml.evaluation.comparison.records import Comparison, DecodingResources, ErrorRate
from habla_ml.evaluation.report.scoreboard import NO_WINNER, ScoreboardRow, scoreboard
from habla_ml.evaluation.report.thresholds import threshold_status
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import AcceptableSettings
from habla_ml.transcription.options import HostedOptions
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances


def row(comparison: Comparison, metric: str, acceptable: AcceptableSettings | None = None) -> ScoreboardRow:
    return next(
        each for each in scoreboard(comparison, acceptable or AcceptableSettings()) if each.metric == metric
    )


@pytest.fixture(scope="module")
def two_models() -> Comparison:
    return make_comparison(make_utterances(8, 12), {"base": 0.4, "candidate": 0.1})


def with_points(comparison: Comparison, points: Interval) -> Comparison:
    change = comparison.changes[0].model_copy(update={"points": points})
    return comparison.model_copy(update={"changes": (change,)})


def with_rates(comparison: Comparison, *rates: Interval) -> Comparison:
    """The same models with other intervals of the WER as written, of which no difference is drawn."""
    models = [
        model.model_copy(update={"orthographic_wer": ErrorRate(counts=model.wer.counts, interval=rate)})
        for model, rate in zip(comparison.models, rates, strict=True)
    ]
    changes = tuple(each.model_copy(update={"orthographic_points": None}) for each in comparison.changes)
    return comparison.model_copy(update={"models": tuple(models), "changes": changes})


def with_memory(comparison: Comparison, *sizes: int | None) -> Comparison:
    models = [
        model.model_copy(update={"resources": DecodingResources(peak_memory_bytes=size)})
        for model, size in zip(comparison.models, sizes, strict=True)
    ]
    return comparison.model_copy(update={"models": tuple(models)})


def test_the_difference_on_the_same_draws_decides_though_the_intervals_touch(two_models: Comparison) -> None:
    assert row(with_points(two_models, Interval(-3, -2, -1)), "WER").winner == "v2"
    assert row(with_points(two_models, Interval(-3, -1, 0.1)), "WER").winner == NO_WINNER


def test_without_a_drawn_difference_intervals_must_not_touch(two_models: Comparison) -> None:
    apart = with_rates(two_models, Interval(0.3, 0.35, 0.4), Interval(0.1, 0.2, 0.29))
    assert row(apart, "WER as written").winner == "v2"
    touching = with_rates(two_models, Interval(0.3, 0.35, 0.4), Interval(0.1, 0.2, 0.31))
    assert row(touching, "WER as written").winner == NO_WINNER


def test_more_is_better_where_it_is(two_models: Comparison) -> None:
    change = two_models.changes[0].punctuation
    assert change is not None
    models = []
    for model, f1 in zip(two_models.models, (0.6, 0.8), strict=True):
        assert model.punctuation is not None
        marks = model.punctuation.punctuation.model_copy(update={"f1": Interval(f1 - 0.15, f1, f1 + 0.15)})
        punctuation = model.punctuation.model_copy(update={"punctuation": marks})
        models.append(model.model_copy(update={"punctuation": punctuation}))
    for points, winner in ((Interval(5.0, 20.0, 35.0), "v2"), (Interval(-1.0, 20.0, 35.0), NO_WINNER)):
        drawn = change.model_copy(update={"punctuation_points": points})
        changed = two_models.changes[0].model_copy(update={"punctuation": drawn})
        comparison = two_models.model_copy(update={"models": tuple(models), "changes": (changed,)})
        assert row(comparison, "punctuation F1").winner == winner


def test_what_is_measured_once_takes_a_margin_and_alone_is_won_by_nobody(two_models: Comparison) -> None:
    assert row(with_memory(two_models, 1000, 840), "peak memory").winner == "v2"
    assert row(with_memory(two_models, 1000, 860), "peak memory").winner == NO_WINNER, (
        "as far as equal models lie apart"
    )
    assert row(with_memory(two_models, None, 860), "peak memory").winner == "–"
    assert not row(two_models, "peak GPU memory").is_measured


def test_a_bound_is_met_missed_or_within_the_interval() -> None:
    assert threshold_status(Interval(0.05, 0.08, 0.0999), 0.1) == "met"
    assert threshold_status(Interval(0.05, 0.08, 0.12), 0.1) == "unsure"
    assert threshold_status(Interval(0.1, 0.15, 0.2), 0.1) == "missed"
    assert threshold_status(None, 0.1) is None
    assert threshold_status(Interval(0, 0, 0), None) is None


def test_bounds_are_those_of_the_framework_and_a_service_has_a_price_of_its_own(two_models: Comparison) -> None:
    assert row(two_models, "WER").bound == "below 10\u00a0%"
    assert row(two_models, "WER", AcceptableSettings(wer=None)).bound == ""
    assert row(two_models, "real-time factor p95").bound == "below 5\u00a0×"
    own, hosted = (
        model.model_copy(update={"resources": DecodingResources(cost_per_audio_hour_usd=1.0)})
        for model in two_models.models
    )
    hosted = hosted.model_copy(update={"decoding": HostedOptions(engine="deepgram")})
    found = row(two_models.model_copy(update={"models": (own, hosted)}), "cost per hour of audio")
    assert [each.threshold_status for each in found.cells] == ["missed", "met"]
    assert found.bound == "below 0.50\u00a0USD or 1.50\u00a0USD"


def test_of_three_models_those_win_whom_nobody_beats() -> None:
    close = make_comparison(make_utterances(8, 12), {"base": 0.4, "previous": 0.15, "candidate": 0.15})
    found = row(close, "WER")
    assert (found.winners, found.losers, found.winner) == (("v1", "v2"), ("base",), "v1, v2")
    equal = make_comparison(make_utterances(8, 12), {"base": 0.15, "previous": 0.15, "candidate": 0.15})
    assert row(equal, "WER").winner == NO_WINNER
    clear = make_comparison(make_utterances(8, 12), {"base": 0.4, "previous": 0.3, "candidate": 0.1})
    assert row(clear, "WER").winner == "v2"
