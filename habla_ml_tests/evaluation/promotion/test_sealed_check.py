"""The sealed sessions confirm the test set, contradict it, or forbid the release."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.sealed_result import SealedResult, summarise_sealed
from habla_ml.evaluation.promotion.sealed_check import judge_sealed, subtract_independent
from habla_ml.evaluation.report import ReportContent
from habla_ml.evaluation.report.html import render_html
from habla_ml.evaluation.report.markdown import render_markdown
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances


@cache
def compare_open() -> Comparison:
    return make_comparison(make_utterances(10, 12), {"base": 0.4, "previous": 0.25, "candidate": 0.15})


SEALED_SPEECH = make_utterances(6, 12, seed=9)


def sealed(base: float, previous: float, candidate: float, looks: int = 1) -> SealedResult:
    rates = {"base": base, "previous": previous, "candidate": candidate}
    return summarise_sealed("v2", make_comparison(SEALED_SPEECH, rates), looks)


def with_points(result: SealedResult, points: Interval) -> SealedResult:
    changes = tuple(each.model_copy(update={"points": points}) for each in result.changes)
    return result.model_copy(update={"changes": changes})


def test_without_a_result_nothing_is_said() -> None:
    assert judge_sealed(None, compare_open()).sentences == ()


def test_equal_results_are_reported_apart_and_agree() -> None:
    found = judge_sealed(sealed(0.4, 0.25, 0.15), compare_open())
    assert (found.objections, found.warnings) == ((), ())
    rates, *agreements = found.notes
    assert "words of 6 sealed sessions" in rates
    (rate,) = [each.rate.interval for each in sealed(0.4, 0.25, 0.15).models if each.name == "v1"]
    assert rate is not None
    shown = f"v1 {100 * rate.value:.1f}\u00a0% ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
    assert shown in rates
    assert all(f"{name} " in rates for name in ("base", "v1", "v2"))
    assert rates.endswith("Versions that were scored on them so far: 1.")
    assert [each.split(":")[0] for each in agreements] == [
        "Open and sealed sessions agree within noise on base",
        "Open and sealed sessions agree within noise on v1",
    ]


def test_a_smaller_gain_than_on_the_test_set_is_a_warning_and_no_objection() -> None:
    found = judge_sealed(sealed(0.4, 0.25, 0.25), compare_open())
    assert found.objections == ()
    assert len(found.warnings) == 2
    assert found.warnings[0].startswith("Open and sealed sessions disagree beyond noise: against base it changes by ")
    assert "It looks better on the test set, by" in found.warnings[0]


def test_a_version_that_is_worse_on_sealed_speech_is_not_released() -> None:
    found = judge_sealed(sealed(0.4, 0.15, 0.3), compare_open())
    (objection,) = found.objections
    assert objection.startswith("On the sealed sessions it is significantly worse than v1: +")
    assert found.sentences[0] == objection


def test_a_loss_within_noise_is_no_objection() -> None:
    found = judge_sealed(with_points(sealed(0.4, 0.25, 0.15), Interval(-0.1, 3.0, 6.0)), compare_open())
    assert found.objections == ()
    found = judge_sealed(with_points(sealed(0.4, 0.25, 0.15), Interval(0.1, 3.0, 6.0)), compare_open())
    assert len(found.objections) == 2


def test_a_result_of_other_files_is_named() -> None:
    models = [
        each.model_copy(update={"artefact_digest": "f" * 64}) if each.role == "candidate" else each
        for each in compare_open().models
    ]
    other: Comparison = compare_open().model_copy(update={"models": tuple(models)})
    found = judge_sealed(sealed(0.4, 0.25, 0.15), other)
    assert "decoded with other files of v2" in found.warnings[0]


def test_the_interval_of_the_difference_of_two_independent_estimates_covers_it() -> None:
    """Normal estimates with different spreads; the stated 95 % interval holds in about 95 % of 4,000 pairs."""
    random = np.random.default_rng(4)
    covered = 0
    for _ in range(4000):
        left, right = random.normal(1.0, 2.0), random.normal(-2.0, 0.7)
        found = subtract_independent(
            Interval(left - 1.96 * 2.0, left, left + 1.96 * 2.0),
            Interval(right - 1.96 * 0.7, right, right + 1.96 * 0.7),
        )
        covered += found.low <= 3.0 <= found.high
    assert covered / 4000 == pytest.approx(0.95, abs=0.012)
    lopsided = subtract_independent(Interval(-1, 0, 3), Interval(-4, 0, 2))
    assert lopsided == Interval(pytest.approx(-(5**0.5)), 0, pytest.approx(5.0))


def test_the_report_shows_the_sealed_sessions_apart_once_they_were_decoded() -> None:
    contradicted = ReportContent(compare_open(), sealed=sealed(0.4, 0.15, 0.3))
    for shown in (render_html(contradicted), render_markdown(contradicted)):
        assert "On the sealed sessions it is significantly worse than v1" in shown
        assert "Sealed sessions" in shown
    for shown in (render_html(ReportContent(compare_open())), render_markdown(ReportContent(compare_open()))):
        assert "ealed sessions" not in shown
