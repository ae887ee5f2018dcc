"""Power of the guard against text in silence: how often it refuses a candidate that writes more, by the size of the set.

Kinds of sound differ in how often a model writes text for them, and the models of a comparison agree partly. The clips
of a kind are the unit of the bootstrap. For each set and true increase the script prints the share of sets in which the
guard fails the candidate, passes it, or cannot judge. The first line is the set of nine kinds before the test had its
own sounds.

    python benchmarks/bench_silence_guard.py --trials 400
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from habla_ml.evaluation.metrics.non_speech_sounds import NON_SPEECH_SOUNDS
from habla_ml.evaluation.promotion.guards import judge_loss
from habla_ml.evaluation.scoring.statistics import Counts, Draws
from habla_ml.settings import PromotionSettings

KINDS = len(NON_SPEECH_SOUNDS)
SETS = {"9 kinds, 30 clips": (9, 30), f"{KINDS} kinds, 60 clips (default)": (KINDS, 60)}
SETS |= {f"{KINDS} kinds, {60 * takes} clips (non_speech_takes: {takes})": (KINDS, 60 * takes) for takes in (2, 4)}
BASE_SHARES = (0.05, 0.30)
INCREASES = (0.0, 0.10, 0.20, 0.30)
SHARED_LOGIT_SD, OWN_LOGIT_SD = 1.5, 0.5
"""Spread between kinds, shared by the models and of each."""


def draw_outputs(kinds: int, clips: int, shares: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    """Return which clips have text, for base and candidate, shape [clips, 2]; the mean shares are `shares`."""
    kind = np.arange(clips) % kinds
    shared = SHARED_LOGIT_SD * random.normal(size=(kinds, 1))
    effects = shared + OWN_LOGIT_SD * random.normal(size=(kinds, 2))
    chances = np.column_stack([_shift_to_mean(effects[:, at], share) for at, share in enumerate(shares)])
    return (random.random((clips, 2)) < chances[kind]).astype(np.int64)


def _shift_to_mean(effects: np.ndarray, share: float) -> np.ndarray:
    """Return probabilities with these logit effects over all kinds there are, and this mean."""
    everywhere = np.hypot(SHARED_LOGIT_SD, OWN_LOGIT_SD) * np.random.default_rng(0).normal(size=4000)
    low, high = -10.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if np.mean(1 / (1 + np.exp(-middle - everywhere))) < share else (low, middle)
    return 1 / (1 + np.exp(-low - effects))


def main() -> None:
    """Print the outcomes of the guard for each set and true increase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    trials = parser.parse_args().trials
    bound = PromotionSettings().non_speech_loss_points
    print(f"{'set':45} base  increase  failed  passed  not shown   (bound {bound:+g} points)")
    for name, (kinds, clips) in SETS.items():
        groups = [str(at % kinds) for at in range(clips)]
        for base in BASE_SHARES:
            for more in INCREASES:
                random = np.random.default_rng([kinds, clips, round(100 * more)])
                outcomes: Counter[str] = Counter()
                for _ in range(trials):
                    table = Counts(np.ones(clips, np.int64), draw_outputs(kinds, clips, (base, base + more), random))
                    (resample,) = Draws.of(groups, 500, 1).resample([table])
                    change = resample.point_change(0, 1)
                    outcomes[judge_loss(change.interval(), bound) if change else "not shown"] += 1
                shown = "  ".join(f"{outcomes[each] / trials:6.1%}" for each in ("failed", "passed", "not shown"))
                print(f"{name:45} {base:4.0%}  {100 * more:+8.0f}  {shown}", flush=True)


if __name__ == "__main__":
    main()
