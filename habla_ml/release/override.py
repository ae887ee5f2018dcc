"""Sign a person's decision to release what the rule refuses; every page of the release shows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.sealed_result import read_sealed_result
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.evaluation.promotion.override import Override, store_override
from habla_ml.evaluation.promotion.rule import Decision
from habla_ml.evaluation.promotion.sealed_check import judge_sealed
from habla_ml.lake import Lake
from habla_ml.model_version import parent_version


def sign_override(
    lake: Lake, version: str, signed_by: str, reason: str, now: datetime, decide: Callable[[Comparison], Decision]
) -> Override:
    """Store a person's decision about the current evidence of `version`; the newest one counts.

    Raises:
        EvaluationError: The version was never evaluated.
        ReleaseError: The rule and the sealed sessions accept the version, it is a repeat with another seed or on less
            speech, or its evidence has no measurements.
        pydantic.ValidationError: The name has fewer than 2 characters, or the reason fewer than 20.
    """
    if parent_version(version) is not None:
        raise ReleaseError(
            f"{version} repeats a version with another seed or on less speech and cannot be released; override the "
            "version itself"
        )
    comparison = read_stored_comparison(lake, version)
    decision = decide(comparison)
    judgement = judge_sealed(read_sealed_result(lake, version), comparison)
    if decision.verdict == "deploy" and not judgement.objections:
        raise ReleaseError(f"the rule accepts {version}, so there is nothing to override; materialise `cdn_release`")
    if comparison.model("base") is None or comparison.test.words == 0:
        raise ReleaseError(f"the evidence of {version} has no measurements to decide on; correct some sessions")
    override = Override(
        model_version=version,
        evidence=decision.evidence,
        verdict="keep" if decision.verdict == "deploy" else decision.verdict,
        against=(*judgement.objections, *decision.reasons),
        signed_by=signed_by,
        reason=reason,
        signed_at=now,
    )
    store_override(lake, override)
    return override
