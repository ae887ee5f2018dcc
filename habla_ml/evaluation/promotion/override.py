"""The stored decision of a person to release what the rule refuses.

It applies only to the evidence that the person saw: after a new evaluation the rule decides again.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.lake import Lake, catalogue

SignerName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=80)]
OverrideReason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=20, max_length=2000)]


class Override(EvaluationRecord):
    """Who overrode the rule for a version, and why."""

    format: Literal["habla_ml.override/1"] = "habla_ml.override/1"
    model_version: Annotated[str, Field(pattern=r"^v[1-9][0-9]*$")]
    evidence: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the comparison that the person saw."""
    verdict: Literal["keep", "collect_more", "refuse"]
    """Verdict of the rule; `keep` where only the sealed sessions forbid the release."""
    against: tuple[str, ...]
    """Objections of the sealed sessions, then the reasons of the rule."""
    signed_by: SignerName
    reason: OverrideReason
    signed_at: AwareDatetime = Field(description="When the person decided.")

    def to_sentence(self) -> str:
        """Return the decision for a person to read."""
        return f"Released against the rule by {self.signed_by} on {self.signed_at:%Y-%m-%d}: {self.reason}"


def read_override(lake: Lake, version: str, evidence: str) -> Override | None:
    """Return the decision about this evidence, or None; a decision about other evidence does not count."""
    pointer = lake.read_pointer(catalogue.OVERRIDE.name(version))
    if pointer is None:
        return None
    override = Override.model_validate(lake.get_json(pointer.value["override"]))
    return override if override.evidence == evidence else None


def store_override(lake: Lake, override: Override) -> None:
    """Make a decision the present one of its version."""
    name = catalogue.OVERRIDE.name(override.model_version)
    stored = lake.put_json(override.model_dump(mode="json"))
    lake.move_pointer(name, {"override": stored}, lake.read_pointer(name))


def carry_override(lake: Lake, version: str, before: str, after: str) -> Override | None:
    """Return the decision about evidence that lost its erased examples; it moves to the digest of what is left.

    The rates and the reasons, against which the person decided, are the same in both.
    """
    override = read_override(lake, version, before)
    if override is None:
        return read_override(lake, version, after)
    moved = override.model_copy(update={"evidence": after})
    store_override(lake, moved)
    return moved
