"""10,000 bootstrap draws over 100,000 words, three models and every slice, against jiwer on each draw.

jiwer runs in full for a few draws: it scores the drawn utterances of each slice and model. The rest is extrapolated
from the median, since all draws would take days. Its words are normalised in advance. We must be at least 100 times
as fast, and our time includes every interval. The rates of both must agree on the draws of jiwer. A last run with
50,000 sessions measures peak memory.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jiwer
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from habla_ml.evaluation.scoring.alignment import score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_orthographic
from habla_ml.evaluation.scoring.rates import stack_counts
from habla_ml.evaluation.scoring.statistics import Counts, Draws

DRAWS, SESSIONS, UTTERANCES, SLICES, MODELS = 10_000, 80, 12_500, 60, 3
RATIO, JIWER_DRAWS, SEED = 100, 3, 20260216
VOCABULARY = [f"palabra{at}" for at in range(3000)]


def main() -> int:
    """Print times, ratio and memory; return non-zero below the bound."""
    rng = np.random.default_rng(1)
    words = [list(rng.choice(VOCABULARY, rng.integers(4, 13))) for _ in range(UTTERANCES)]
    hypotheses = [[_corrupt_words(each, share, rng) for each in words] for share in (0.4, 0.3, 0.25)]
    texts = [" ".join(each) for each in words]
    sessions = rng.integers(0, SESSIONS, UTTERANCES)
    rows = [np.arange(UTTERANCES), *(np.flatnonzero(rng.random(UTTERANCES) < 1 / 8) for _ in range(SLICES - 1))]
    whole = stack_counts(
        [[s.words for s in score_utterances(texts, each, normalise_orthographic)] for each in hypotheses]
    )
    draws = Draws.of([f"{each:03d}" for each in sessions], DRAWS, SEED)

    started = time.perf_counter()
    resamples = draws.resample([whole.select_rows(chosen.tolist()) for chosen in rows])
    figures = 0
    for found in resamples:
        for figure in (
            *(found.rate(model) for model in range(MODELS)),
            found.relative_improvement(0, 2),
            found.point_change(1, 2),
        ):
            figures += figure is not None and bool(figure.interval())
    ours = time.perf_counter() - started

    weights = np.zeros((JIWER_DRAWS, SESSIONS))
    chosen = np.random.default_rng(SEED).integers(SESSIONS, size=(DRAWS, SESSIONS))[:JIWER_DRAWS]
    for at in range(JIWER_DRAWS):
        weights[at] = np.bincount(chosen[at], minlength=SESSIONS)
    times = []
    for at in range(JIWER_DRAWS):
        started = time.perf_counter()
        rates = _score_with_jiwer(texts, hypotheses, rows, sessions, weights[at])
        times.append(time.perf_counter() - started)
        same = [[found.rate(model).drawn[at] for model in range(MODELS)] for found in resamples]
        if not np.allclose(rates, same):
            raise SystemExit("jiwer and our bootstrap disagree on a draw")
    peer = statistics.median(times) * DRAWS
    print(f"{int(whole.words.sum())} words, {SESSIONS} sessions, {SLICES} slices, {MODELS} models, {DRAWS} draws")
    print(f"ours   {ours:.2f} s for {figures} figures with intervals")
    print(
        f"jiwer  {statistics.median(times):.1f} s per draw (median of {JIWER_DRAWS}), extrapolated {peer / 3600:.1f} h"
    )
    print(f"ratio  {peer / ours:.0f}   (bound {RATIO})")
    _measure_peak_memory(rng)
    return int(peer / ours < RATIO)


def _score_with_jiwer(
    texts: Sequence[str],
    hypotheses: Sequence[Sequence[str]],
    rows: Sequence[np.ndarray],
    sessions: np.ndarray,
    weights: np.ndarray,
) -> list[list[float]]:
    rates = []
    for chosen in rows:
        drawn = np.repeat(chosen, weights[sessions[chosen]].astype(int)).tolist()
        references = [texts[at] for at in drawn]
        rates.append([jiwer.wer(references, [each[at] for at in drawn]) for each in hypotheses])
    return rates


def _measure_peak_memory(rng: np.random.Generator) -> None:
    sessions = [f"{at // 4:05d}" for at in range(200_000)]
    counts = Counts(rng.integers(4, 13, len(sessions)), rng.poisson(2.0, (len(sessions), MODELS)))
    slices = [
        counts,
        *(counts.select_rows(np.flatnonzero(rng.random(len(sessions)) < 1 / 8).tolist()) for _ in range(20)),
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    Draws.of(sessions, DRAWS, SEED).resample(slices)
    spent = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"50000 sessions, 21 slices, {DRAWS} draws: {spent:.1f} s, peak memory {grown / 1024:.0f} MiB more")


def _corrupt_words(words: Sequence[str], share: float, rng: np.random.Generator) -> str:
    corrupted = []
    for word, draw in zip(words, rng.random(len(words)), strict=True):
        if draw >= share:
            corrupted.append(word)
        elif draw < 0.6 * share:
            corrupted.append(str(rng.choice(VOCABULARY)))
        elif draw < 0.8 * share:
            corrupted += [word, "eh"]
    return " ".join(corrupted)


if __name__ == "__main__":
    sys.exit(main())
