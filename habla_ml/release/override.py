"""A person's decision to release what the rule refuses: stored, signed with a name, and shown wherever the release is.

It holds for exactly the evidence that the person saw: a version that is measured again is judged by the rule again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from habla_ml.errors import ReleaseError
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.promotion.rule import Decision
from habla_ml.evaluation.run import read_stored_comparison
from habla_ml.lake import Lake, catalogue
from habla_ml.model_version import parent_version
from habla_ml.release.manifest import ModelVersion, PublishedRecord, Sha256

SignerName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=80)]
OverrideReason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=20, max_length=2000)]


class Override(PublishedRecord):
    """Who let a refused version pass, and why."""

    format: Literal["habla_ml.override/1"] = "habla_ml.override/1"
    model_version: ModelVersion
    evidence: Sha256
    """Digest of the comparison that the person saw."""
    verdict: Literal["collect_more", "refuse"]
    """Of the rule."""
    against: tuple[str, ...]
    """The rule's reasons, which the person has read."""
    signed_by: SignerName
    reason: OverrideReason
    signed_at: AwareDatetime = Field(description="When the person decided.")

    def to_sentence(self) -> str:
        """For a person, beside the rule's own reasons."""
        day = f"{self.signed_at:%Y-%m-%d}"
        return f"Released against the rule by {self.signed_by} on {day}: {self.reason}"


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
    name = _override_pointer(version)
    lake.move_pointer(name, {"override": lake.put_json(override.model_dump(mode="json"))}, lake.read_pointer(name))
    return override


def read_override(lake: Lake, version: str, evidence: str) -> Override | None:
    """The decision about this evidence, or None; one about other evidence counts no longer."""
    pointer = lake.read_pointer(_override_pointer(version))
    if pointer is None:
        return None
    override = Override.model_validate(lake.get_json(pointer.value["override"]))
    return override if override.evidence == evidence else None


def describe_override(lake: Lake, version: str, evidence: str) -> str | None:
    """What a report of this evidence says of a person's decision, or None."""
    override = read_override(lake, version, evidence)
    return None if override is None else override.to_sentence()


def _override_pointer(version: str) -> str:
    return catalogue.OVERRIDE.name(version)
