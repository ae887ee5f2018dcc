"""The result of a version on the sealed sessions: decoded once, by the release, and never by a report.

It is no part of the comparison, because the report is written before the sealed sessions are decoded.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.inputs import ModelRole
from habla_ml.evaluation.scoring.rates import ErrorRate
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.lake import Lake, catalogue


class SealedRate(EvaluationRecord):
    """One model on the sealed sessions."""

    name: str
    role: ModelRole
    artefact_digest: str
    rate: ErrorRate


class SealedChange(EvaluationRecord):
    """The candidate against another model on the sealed sessions, on the same draws."""

    against: str
    role: ModelRole
    points: Interval
    """Difference of the WER in points: above 0 is worse."""


class SealedResult(EvaluationRecord):
    """Base, release and candidate on the sealed sessions."""

    format: Literal["habla_ml.sealed_result/1"] = "habla_ml.sealed_result/1"
    version: str
    test_set: str
    """Digest of the sealed set."""
    sessions: int
    words: int
    scorer: str
    looks: int
    """Versions that were scored on this sealed set so far, this one included."""
    models: tuple[SealedRate, ...]
    changes: tuple[SealedChange, ...]

    @property
    def artefact_digest(self) -> str | None:
        """The served model of the version that was decoded."""
        return next((each.artefact_digest for each in self.models if each.role == "candidate"), None)


def summarise_sealed(version: str, comparison: Comparison, looks: int) -> SealedResult:
    """Return the rates and differences of a comparison on the sealed sessions, without any text or session."""
    return SealedResult(
        version=version,
        test_set=comparison.test.digest,
        sessions=comparison.test.sessions,
        words=comparison.test.words,
        scorer=comparison.method.scorer,
        looks=looks,
        models=tuple(
            SealedRate(name=each.name, role=each.role, artefact_digest=each.artefact_digest, rate=each.wer)
            for each in comparison.models
        ),
        changes=tuple(
            SealedChange(against=each.against, role=each.role, points=each.points)
            for each in comparison.changes
            if each.points is not None
        ),
    )


def read_sealed_result(lake: Lake, version: str) -> SealedResult | None:
    """Return the stored result of a version; None where the sealed sessions were not decoded for it.

    Raises:
        EvaluationError: The stored result has an unknown format.
    """
    pointer = lake.read_pointer(catalogue.SEALED_RESULT.name(version))
    if pointer is None:
        return None
    try:
        return SealedResult.model_validate_json(lake.get_bytes(pointer.value["result"]))
    except ValidationError as error:
        raise EvaluationError(
            f"the sealed result of {version} has an unknown format ({error.errors()[0]['msg']}); install the version of "
            "habla_ml that wrote it, or a newer one"
        ) from error
