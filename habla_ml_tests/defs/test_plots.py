"""The UI draws Markdown below 1,000 characters in place; the largest plots must stay below."""

from __future__ import annotations

from urllib.parse import unquote
from xml.etree import ElementTree

import dagster as dg
import numpy as np
import pytest

from habla_ml.defs.plots import plot_histogram, plot_intervals, plot_line, plot_weekly_rates
from habla_ml.defs.presentation import format_figure
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml_tests.testing.readable_metadata import IN_PLACE

SVG = "{http://www.w3.org/2000/svg}"
WEEKS = [(f"2026-03-{day:02d}", Interval(0.1, 0.123, 0.19) if day % 3 else None) for day in range(1, 27)]
LOUDNESS = np.random.default_rng(1).normal(-30, 8, 5000).tolist()
LOSSES = [(float(step), 2.5 / (1 + step)) for step in range(5000)]
MODELS = [(f"base,quantisation=<float32> & {at}", Interval(0.3, 0.4, 0.5)) for at in range(20)]


@pytest.mark.parametrize(
    "plot",
    [
        plot_line(LOSSES, "step", "training loss"),
        plot_histogram(LOUDNESS, "dBFS", "segments by loudness; line: quiet below", -45.0),
        plot_intervals(MODELS, "WER, 95 % intervals"),
        plot_weekly_rates(WEEKS, 0.11, 0.14, "WER by week; lines: at the release, and tolerated"),
    ],
    ids=["line", "histogram", "intervals", "weeks"],
)
def test_the_largest_plot_is_a_drawing_that_is_shown_in_place(plot: dg.MarkdownMetadataValue) -> None:
    assert plot.value is not None
    assert len(plot.value) < IN_PLACE
    source = plot.value.partition("](<")[2].removesuffix(">)")
    drawing = ElementTree.fromstring(unquote(source.removeprefix("data:image/svg+xml,")))  # noqa: S314 - our own drawing
    assert drawing.findall(f"{SVG}path")
    assert all(text.text for text in drawing.iter(f"{SVG}text"))


@pytest.mark.parametrize(
    "plot",
    [
        plot_line([], "step", "loss"),
        plot_line([(1.0, 0.0)], "step", "loss"),
        plot_histogram([], "dBFS", "loudness"),
        plot_intervals([("v1", None)], "WER"),
        plot_weekly_rates([], None, 0.1, "WER by week"),
    ],
    ids=["no points", "a point at 0", "no values", "no interval", "no weeks"],
)
def test_a_plot_of_nothing_is_a_drawing_too(plot: dg.MarkdownMetadataValue) -> None:
    assert plot.value is not None
    ElementTree.fromstring(unquote(plot.value.partition("svg+xml,")[2].removesuffix(">)")))  # noqa: S314 - our own drawing


def test_the_curve_ends_at_its_last_point_and_a_higher_value_is_higher() -> None:
    drawn = unquote(str(plot_line(LOSSES, "step", "loss").value))
    assert "step 4,999" in drawn
    path = drawn.partition("<path d='M")[2].partition("'")[0].split("L")
    heights = [int(each.split()[1]) for each in path]
    assert heights == sorted(heights)
    assert heights[0] < heights[-1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0123456, "0.0123"),
        (999.4, "999"),
        (999.6, "1,000"),
        (1234.5, "1,234"),
        (12_345.0, "12,345"),
        (-2000.0, "-2,000"),
    ],
)
def test_a_figure_has_no_exponent_and_loses_no_digit_before_its_point(value: float, shown: str) -> None:
    assert format_figure(value) == shown


def test_a_long_training_ends_at_its_last_step() -> None:
    assert "step 12,345" in unquote(str(plot_line([(1.0, 2.0), (12_345.0, 1.0)], "step", "loss").value))


def test_a_plot_of_too_many_models_says_that_it_leaves_some_out() -> None:
    assert "WER, last 5 of 20" in unquote(str(plot_intervals(MODELS, "WER").value))
    assert "of" not in unquote(str(plot_intervals(MODELS[:5], "WER").value)).partition("]")[0]
