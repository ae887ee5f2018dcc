"""How much the corpus has grown since the last good training."""

from __future__ import annotations

from dataclasses import dataclass

from habla_ml.corpus.hours import corpus_hours
from habla_ml.lake import Lake
from habla_ml.training.plan import list_evaluated_trainings


@dataclass(frozen=True)
class CorpusGrowth:
    """Hours of usable corrected speech."""

    corpus_hours: float
    trained_hours: float
    """Of the corpus at the last good training; 0 without one."""
    since: str | None
    """Version of that training."""

    @property
    def hours(self) -> float:
        """The growth; negative where recordings were erased."""
        return self.corpus_hours - self.trained_hours

    def find_hours_left(self, bound: float) -> float:
        """Return the hours until the growth reaches `bound`."""
        return max(0.0, bound - self.hours)


def measure_growth(lake: Lake) -> CorpusGrowth:
    """Measure the growth; costs one listing, and one read for each day that changed."""
    trained = list_evaluated_trainings(lake)
    last = trained[-1] if trained else None
    return CorpusGrowth(corpus_hours(lake), last.corpus_hours if last else 0.0, last.version if last else None)
