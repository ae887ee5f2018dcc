"""Looks at a test set: count them in the lake, and compute how much too good the best version looks.

The looks of a test set are stored behind `test_sets/<digest>`, so that they survive their reports. A look names the first
digits of its artefact only, so that no count keeps a deleted model. A test set that grew is another set: its looks begin
with the versions that are scored again on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

import numpy as np

from habla_ml.errors import LakeError, PointerMovedError
from habla_ml.evaluation.comparison.records import Comparison, ModelScore
from habla_ml.evaluation.comparison.version_scores import TestSetReuse, VersionScore
from habla_ml.evaluation.scoring.best_of_many import compute_expected_maximum, extend_covariance
from habla_ml.evaluation.scoring.statistics import Counts, Draws
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import is_version, parent_version, version_number

_DIGITS: Final = 32
_MAX_ATTEMPTS: Final = 20
_MIN_UNITS: Final = 2


class Look(NamedTuple):
    """A version that was scored on a test set."""

    version: str
    artefact: str
    """The first digits of its artefact."""


def list_version_scores(comparison: Comparison) -> tuple[VersionScore, ...]:
    """Return every version on the test set, by number: those scored again, the previous release and the candidate."""
    compared = [
        _extract_score(comparison, each)
        for each in comparison.models
        if each.role in ("previous", "candidate") and is_version(each.name)
    ]
    by_name = {each.name: each for each in (*comparison.versions, *compared)}
    return tuple(sorted(by_name.values(), key=lambda each: (version_number(each.name), each.name)))


def record_looks(lake: Lake, comparison: Comparison) -> tuple[Look, ...]:
    """Count the versions of the comparison as looks at its test set, once each; return all looks so far.

    Replicates do not count: they are never released, so no one chooses the best of them.

    Raises:
        LakeError: Other processes keep counting looks at this test set.
    """
    fresh = {
        Look(each.name, each.artefact_digest[:_DIGITS])
        for each in list_version_scores(comparison)
        if parent_version(each.name) is None
    }
    name = catalogue.TEST_SET_LOOKS.name(comparison.test.digest)
    for _ in range(_MAX_ATTEMPTS):
        seen = lake.read_pointer(name)
        known = {Look(*each) for each in seen.value["looks"]} if seen else set()
        looks = tuple(sorted(known | fresh, key=lambda each: (version_number(each.version), each)))
        if fresh <= known:
            return looks
        try:
            lake.move_pointer(name, {"looks": [list(each) for each in looks]}, seen)
        except PointerMovedError:
            continue
        return looks
    raise LakeError(f"other processes moved {name} {_MAX_ATTEMPTS} times in a row; stop them, then run again")


def measure_reuse(comparison: Comparison, looks: Collection[Look]) -> TestSetReuse:
    """Return how much too good the best of the versions that looked is expected to look."""
    known = [
        each
        for each in list_version_scores(comparison)
        if Look(each.name, each.artefact_digest[:_DIGITS]) in looks and each.counts
    ]
    versions = dict.fromkeys(each.version for each in looks)
    found = TestSetReuse(
        looks=len(looks),
        versions=tuple(versions),
        scored=len(known),
        optimism_points=0.0 if len(looks) < 2 else None,
        paired_error_points=None,
        correlation=None,
    )
    if len(known) < 2 or len(known[0].counts) < _MIN_UNITS:
        return found
    covariance = _compute_covariance(known, comparison.method.bootstrap_draws, comparison.method.seed)
    variances = np.diag(covariance)
    differences = variances[:, None] + variances[None, :] - 2 * covariance
    pairs = ~np.eye(len(known), dtype=bool)
    spread = np.sqrt(np.outer(variances, variances))
    has_spread = bool((spread > 0).all())
    return found.model_copy(
        update={
            "optimism_points": compute_expected_maximum(extend_covariance(covariance, len(looks))),
            "paired_error_points": float(np.sqrt(np.maximum(differences[pairs], 0).mean())),
            "correlation": float((covariance / spread)[pairs].mean()) if has_spread else None,
        }
    )


def _extract_score(comparison: Comparison, model: ModelScore) -> VersionScore:
    counts = {
        part.name: rate.rate.counts
        for part in comparison.slices
        if part.dimension == comparison.method.unit
        for rate in part.rates
        if rate.model == model.name
    }
    return VersionScore(
        name=model.name, artefact_digest=model.artefact_digest, interval=model.wer.interval, counts=counts
    )


def _compute_covariance(scores: Iterable[VersionScore], draws: int, seed: int) -> np.ndarray:
    """Return the covariance of the versions' WER in points, on the draws of the comparison, for few units corrected."""
    counts = [each.counts for each in scores]
    units = sorted(counts[0])
    words = np.array([counts[0][unit].reference_words for unit in units], dtype=np.int64)
    errors = np.array([[each[unit].errors for each in counts] for unit in units], dtype=np.int64)
    (drawn,) = Draws.of(units, draws, seed).resample([Counts(words, errors)])
    rates = 100 * drawn.drawn_errors / np.maximum(drawn.drawn_words, 1)[:, None]
    effective = max(float(drawn.units[0]), _MIN_UNITS)
    covariance: np.ndarray = np.cov(rates, rowvar=False) * effective / (effective - 1)
    return covariance
