"""All versions on one test set, and how often the test set was looked at."""

from __future__ import annotations

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.scoring.alignment import ErrorCounts
from habla_ml.evaluation.scoring.statistics import Interval


class VersionScore(EvaluationRecord):
    """A model version on the test set of the comparison, as it is served."""

    name: str
    artefact_digest: str
    interval: Interval | None
    """WER on the same draws as those of the compared models; None without reference words."""
    counts: dict[str, ErrorCounts]
    """Word errors by unit of the bootstrap."""


class TestSetReuse(EvaluationRecord):
    """How many versions were scored on the test set, and how lucky the best of them is expected to be.

    A look is one artefact of a version that may be released, scored on this test set. Only its first time counts.
    """

    __test__ = False

    looks: int
    versions: tuple[str, ...]
    """Versions that looked, by number."""
    scored: int
    """Looks whose errors are known; the others, of deleted artefacts, count as equally variable and correlated."""
    optimism_points: float | None
    """WER points by which the best of `looks` equally good versions looks too good, on average.

    None where fewer than two versions can be compared; 0 after a single look.
    """
    paired_error_points: float | None
    """Root mean square standard error of the difference between two versions, in WER points."""
    correlation: float | None
    """Mean correlation between the errors of two versions over the sessions."""
