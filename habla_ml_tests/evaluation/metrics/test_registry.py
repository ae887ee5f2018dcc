"""Every metric is registered once, measured, shown and guarded through its row."""

from habla_ml.evaluation.metrics.registry import METRICS
from habla_ml.evaluation.report.scoreboard import build_scoreboard, list_change_rows
from habla_ml.settings import AcceptableSettings, PromotionSettings
from habla_ml_tests.testing.full_comparison import make_full_comparison


def test_names_and_labels_are_distinct() -> None:
    assert len({each.name for each in METRICS}) == len({each.label for each in METRICS}) == len(METRICS)


def test_a_full_comparison_measures_and_shows_every_metric() -> None:
    comparison, _ = make_full_comparison()
    unmeasured = {"peak_gpu_memory_bytes"}
    for model in comparison.models:
        assert set(model.metrics) == {each.name for each in METRICS} - unmeasured
    rows = build_scoreboard(comparison, AcceptableSettings())
    assert [row.metric for row in rows] == [each.label for each in METRICS]
    assert {row.metric for row in rows if not row.is_measured} == {"peak GPU memory"}


def test_every_guarded_metric_has_a_paired_difference_and_a_bound() -> None:
    comparison, _ = make_full_comparison()
    shown = {label for label, _ in list_change_rows(comparison)}
    guarded = [each for each in METRICS if each.guard]
    assert {each.name for each in guarded} == {
        "deletions",
        "out_of_domain_wer",
        "non_speech_output",
        "invented_texts",
    }
    for each in guarded:
        assert each.guard is not None
        assert each.guard.loss_bound(PromotionSettings()) >= 0
        assert f"{each.label}, {each.difference_unit}" in shown


def test_every_metric_is_explained_in_plain_words() -> None:
    assert [each.name for each in METRICS if len(each.help.split()) < 4] == []
