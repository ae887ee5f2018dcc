"""How often the forecast of hours is right: the share of simulated projects in which its 80 % interval holds.

Each project has a known learning curve, drawn from a range that is wider than published results, and a test set of some
sessions. Versions are trained on a schedule of hours; each rate has the noise of its seed and of the sessions. The
forecast for more hours is compared with the true rate of the next version. The last column is the share of projects in
which the check of the fit refuses a forecast, which must be small: all points follow a law.

    python benchmarks/bench_forecast.py --projects 400
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from habla_ml.evaluation.promotion.learning_curve import CurvePoint, fit_learning_curve

SCHEDULES = {
    "one version of 10 h": (0.0, 10.0),
    "3, 10, 20 h": (0.0, 3.0, 10.0, 20.0),
    "quarters of 40 h": (0.0, 10.0, 20.0, 30.0, 40.0),
    "0.3, 0.6 h (a fast learner)": (0.0, 0.3, 0.6),
}
SEED_LOG_SD = 0.03
HARD_SESSIONS_LOG_SD = 0.35
"""Of a session's rate, shared by all models."""
OWN_SESSIONS_LOG_SD = 0.15
"""Of a session's rate, of one model."""


@dataclass(frozen=True)
class Law:
    """A true learning curve."""

    name: str
    rate: Callable[[float], float]
    """Hours → error rate."""


def draw_law(random: np.random.Generator) -> Law:
    """Draw a law: h0 from 0.3 to 30 h, b from 0.1 to 0.9, a floor from 0 to 40 % of the base's rate."""
    hours_scale = math.exp(random.uniform(math.log(0.3), math.log(30)))
    exponent, floor = random.uniform(0.1, 0.9), random.uniform(0.0, 0.4)
    return Law(
        f"h0 {hours_scale:.1f} h, b {exponent:.2f}, floor {floor:.2f}",
        lambda hours: 0.4 * (floor + (1 - floor) * (1 + hours / hours_scale) ** -exponent),
    )


def hold_in(law: Law, schedule: tuple[float, ...], sessions: int, more: float, random: np.random.Generator) -> tuple:
    """Return whether the interval of the gain holds, its width, and whether the fit is refused."""
    true = np.array([law.rate(each) for each in schedule])
    seeds = np.where(np.array(schedule) > 0, SEED_LOG_SD, 0.0) * random.normal(size=len(schedule))
    actual = np.log(true) + seeds
    hard = HARD_SESSIONS_LOG_SD * random.normal(size=(sessions, 1))
    seen = actual + hard + OWN_SESSIONS_LOG_SD * random.normal(size=(sessions, len(schedule)))
    covariance = np.cov(seen, rowvar=False) / sessions
    points = [CurvePoint(str(h), h, math.exp(y)) for h, y in zip(schedule, seen.mean(axis=0), strict=True)]
    curve = fit_learning_curve(points, covariance, SEED_LOG_SD, freedom=sessions - 1)
    then = math.log(law.rate(schedule[-1] + more)) + SEED_LOG_SD * random.normal()
    found = curve.reduction(more)
    holds = found.low <= 1 - math.exp(then - actual[-1]) <= found.high
    return holds, found.high - found.low, curve.explain_misfit() is not None


def main() -> None:
    """Print the coverage for each schedule, number of sessions and amount of hours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--projects", type=int, default=400)
    options = parser.parse_args()
    print(f"{'schedule':28} sessions  more  80 % interval holds  mean width  refused")
    for name, schedule in SCHEDULES.items():
        for sessions in (8, 16, 40):
            for share in (0.5, 1.0):
                more = share * schedule[-1]
                random = np.random.default_rng([sessions, round(100 * more)])
                found = [hold_in(draw_law(random), schedule, sessions, more, random) for _ in range(options.projects)]
                held, width, refused = (float(np.mean([each[at] for each in found])) for at in range(3))
                print(f"{name:28} {sessions:8} {more:4g} h {held:20.1%} {width:11.3f} {refused:8.1%}", flush=True)


if __name__ == "__main__":
    main()
