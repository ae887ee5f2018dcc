"""Coverage of 95 % intervals, and operating characteristics of the promotion rule, on simulated test sets.

`habla_ml_tests/testing/simulated_error_counts.py` draws test sets with a known truth. Sessions differ in difficulty and
length, each model has random effects per session, and errors cluster in utterances and are shared by the models. There
are three error models: the demo's classroom, long lessons, and lessons that differ much in length and difficulty. The
peer is the plain percentile interval.

For each error model and number of sessions the script prints four kinds of shares. With equal models: intervals of the
improvement wholly above zero (nominal 2.5 %) and wholly off zero (5 %), and deployments. Intervals that cover the
truth (95 %). True improvements that are detected, and deployed. It returns non-zero where a share with equal models
exceeds its nominal value by more than three Monte Carlo standard errors, or where the interval of the difference
covers less than 93 %. Hundreds of trials cannot distinguish 2.9 % from 2.5 %: use 40,000.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.promotion.rule import decide
from habla_ml.evaluation.scoring.statistics import Estimate
from habla_ml.settings import PromotionSettings
from habla_ml_tests.testing.simulated_error_counts import (
    ErrorSimulation,
    draw_test_set,
    make_simulated_comparison,
    resample_counts,
)
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances

ERROR_MODELS = {
    "demo": ErrorSimulation(),
    "lessons": ErrorSimulation(0.25, 0.30, 0.15, 900, 0.25),
    "uneven": ErrorSimulation(0.30, 0.35, 0.25, 400, 0.50),
}
SESSIONS = (5, 8, 16, 40)
TRUE_IMPROVEMENTS = (0.2, 0.3, 0.4, 0.5)
DRAWS = 1000


@dataclass
class CalibrationCounts:
    """Number of trials in which each event occurred."""

    trials: int
    better: int = 0
    outside: int = 0
    percentile_outside: int = 0
    deployed: int = 0
    improvement_covered: int = 0
    rate_covered: int = 0
    found: dict[float, int] = field(default_factory=lambda: dict.fromkeys(TRUE_IMPROVEMENTS, 0))
    deployed_by_improvement: dict[float, int] = field(default_factory=lambda: dict.fromkeys(TRUE_IMPROVEMENTS, 0))

    def share(self, count: int) -> float:
        """Return a count as a percentage of the trials."""
        return 100 * count / self.trials

    def is_calibrated(self) -> bool:
        """Return whether the nominal shares hold within the Monte Carlo error."""
        above = [
            count / self.trials - nominal > 3 * (nominal * (1 - nominal) / self.trials) ** 0.5
            for count, nominal in ((self.better, 0.025), (self.outside, 0.05), (self.deployed, 0.025))
        ]
        return not any(above) and self.improvement_covered / self.trials >= 0.93


def main(trials: int) -> int:
    """Print a table; return non-zero where a nominal share does not hold."""
    measured = make_comparison(make_utterances(6, 4), {"base": 0.4, "candidate": 0.2})
    print(f"{trials} trials of {DRAWS} draws each; all in percent; `found` and `deployed` for true improvements of 20,")
    print("30, 40 and 50 %")
    print(
        "model    sessions | equal models: better  differs (percentile)  deployed | covers: difference  rate | found"
        "              | deployed"
    )
    calibrated = True
    for name, error_model in ERROR_MODELS.items():
        for sessions in SESSIONS:
            tally = _run_trials(error_model, sessions, trials, measured)
            calibrated &= tally.is_calibrated()
            print(
                f"{name:<8} {sessions:>8} | {tally.share(tally.better):>20.1f} {tally.share(tally.outside):>8.1f} "
                f"{tally.share(tally.percentile_outside):>12.1f} {tally.share(tally.deployed):>9.1f} | "
                f"{tally.share(tally.improvement_covered):>17.1f} {tally.share(tally.rate_covered):>5.1f} | "
                + " ".join(f"{tally.share(tally.found[each]):>4.0f}" for each in TRUE_IMPROVEMENTS)
                + " | "
                + " ".join(f"{tally.share(tally.deployed_by_improvement[each]):>4.0f}" for each in TRUE_IMPROVEMENTS),
                flush=True,
            )
    return int(not calibrated)


def _run_trials(error_model: ErrorSimulation, sessions: int, trials: int, measured: Comparison) -> CalibrationCounts:
    rng, tally, rule = np.random.default_rng(sessions), CalibrationCounts(trials), PromotionSettings()
    for trial in range(trials):
        found = resample_counts(*draw_test_set(error_model, sessions, (0.0, *TRUE_IMPROVEMENTS), rng), DRAWS, trial)
        equal, third, rate = found.relative_improvement(0, 1), found.relative_improvement(0, 3), found.rate(0)
        assert equal is not None
        assert third is not None
        assert rate is not None
        interval = equal.interval()
        tally.better += interval.low > 0
        tally.outside += interval.low > 0 or interval.high < 0
        tally.percentile_outside += _percentile_excludes(equal, 0.0)
        tally.improvement_covered += _contains_truth(third, 0.3)
        tally.rate_covered += _contains_truth(rate, error_model.base_wer)
        tally.deployed += decide(make_simulated_comparison(measured, found, sessions), rule).verdict == "deploy"
        for column, planted in enumerate(TRUE_IMPROVEMENTS, start=2):
            improvement = found.relative_improvement(0, column)
            assert improvement is not None
            tally.found[planted] += improvement.interval().low > 0
            decision = decide(make_simulated_comparison(measured, found, sessions, column), rule)
            tally.deployed_by_improvement[planted] += decision.verdict == "deploy"
    return tally


def _contains_truth(figure: Estimate, truth: float) -> bool:
    interval = figure.interval()
    return interval.low <= truth <= interval.high


def _percentile_excludes(figure: Estimate, truth: float) -> bool:
    low, high = np.quantile(figure.drawn, [0.025, 0.975])
    return not low <= truth <= high


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
