"""What every stored record of an evaluation has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EvaluationRecord(BaseModel):
    """A frozen part of the evidence: unknown fields are refused, so that an old reader never skips a new figure."""

    # An error would repeat sentences, and travel to where no erasure reaches.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
