import pytest

from habla_ml.evaluation.report.plots import draw_versions_chart, round_axis_end
from habla_ml.evaluation.scoring.statistics import Interval


def test_an_axis_ends_at_the_next_five_points() -> None:
    assert round_axis_end([Interval(0.1, 0.2, 0.31), None]) == pytest.approx(0.35)
    assert round_axis_end([]) == pytest.approx(0.05)


def test_the_version_chart_labels_the_last_version_and_the_focus() -> None:
    history = [(f"v{at}", Interval(0.2, 0.3, 0.4)) for at in range(40)]
    chart = draw_versions_chart(history, "v7")
    assert chart.count("<circle") == 40
    assert chart.count('class="trend"') == 39
    assert ">v39</text>" in chart
    assert ">v7</text>" in chart
    assert chart.count('class="value"') <= 8
    assert "<script>" not in draw_versions_chart([("<script>", Interval(0, 0.1, 0.2))] * 2, "x")
    assert "circle" not in draw_versions_chart([], "x")


def test_a_higher_rate_is_higher_in_the_version_chart() -> None:
    chart = draw_versions_chart([("bad", Interval(0.3, 0.3, 0.3)), ("good", Interval(0.1, 0.1, 0.1))], "good")
    heights = [float(part.split('"')[0]) for part in chart.split('cy="')[1:]]
    assert heights[0] < heights[1]
