"""The record of a person's decision to release what the rule refuses.

It holds for exactly the evidence that the person saw: a version that is evaluated again is decided by the rule again.
`habla_ml.release.override` signs it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from habla_ml.lake import Lake, catalogue

SignerName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=80)]
OverrideReason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=20, max_length=2000)]


class Override(BaseModel):
    """Who releases a refused version, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["habla_ml.override/1"] = "habla_ml.override/1"
    model_version: Annotated[str, Field(pattern=r"^v[1-9][0-9]*$")]
    evidence: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
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


def read_override(lake: Lake, version: str, evidence: str) -> Override | None:
    """Return the decision about this evidence, or None; a decision about other evidence does not count."""
    pointer = lake.read_pointer(catalogue.OVERRIDE.name(version))
    if pointer is None:
        return None
    override = Override.model_validate(lake.get_json(pointer.value["override"]))
    return override if override.evidence == evidence else None
