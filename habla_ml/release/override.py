"""Sign a person's decision to release what the rule refuses; every page of the release shows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.evaluation.promotion.override import Override
from habla_ml.evaluation.promotion.rule import Decision
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import parent_version


def sign_override(
    lake: Lake,
    version: str,
    signed_by: str,
    reason: str,
    now: datetime,
    decide: Callable[[Comparison], Decision],
) -> Override:
    """Store a person's decision about the evidence of `version` as it stands; the newest one counts.

    Raises:
        EvaluationError: The version was never evaluated.
        ReleaseError: The rule lets it pass, it is a repeat with another seed, or its evidence holds no figures to
            decide about.
        pydantic.ValidationError: A name of fewer than 2 characters, or a reason of fewer than 20.
    """
    if parent_version(version) is not None:
        raise ReleaseError(
            f"{version} repeats a version with another seed or on less speech, to measure that; it is not released"
        )
    comparison = read_stored_comparison(lake, version)
    decision = decide(comparison)
    if decision.verdict == "deploy":
        raise ReleaseError(
            f"the rule lets {version} pass; materialise `cdn_release` for it, nothing is to be signed"
        )
    if comparison.model("base") is None or comparison.test.words == 0:
        raise ReleaseError(
            f"nothing was measured for {version}, so nobody can decide about it; correct some sessions"
        )
    override = Override(
        model_version=version,
        evidence=decision.evidence,
        verdict=decision.verdict,
        against=decision.reasons,
        signed_by=signed_by,
        reason=reason,
        signed_at=now,
    )
    name = catalogue.OVERRIDE.name(version)
    lake.move_pointer(name, {"override": lake.put_json(override.model_dump(mode="json"))}, lake.read_pointer(name))
    return override
