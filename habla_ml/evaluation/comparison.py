"""The result of a comparison: what the report shows, the promotion rule reads and the lake keeps as evidence."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.scoring import ErrorCounts
from habla_ml.evaluation.statistics import Interval
from habla_ml.evaluation.transcribe import DecodingOptions
from habla_ml.lake import digest_of

FORMAT = "habla_ml.comparison/1"

Role = Literal["base", "previous", "candidate"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rate(_Record):
    """An error rate with its counts; `interval` is None where the reference is empty."""

    counts: ErrorCounts
    interval: Interval | None

    @property
    def value(self) -> float | None:
        """The rate itself, a share of 1."""
        return self.counts.wer


class ScoredSet(_Record):
    """A set of utterances that every model was scored on."""

    digest: str
    """sha256 over the sorted segment ids with their sentences: another text is another set."""
    utterances: int
    sessions: int
    words: int
    """Words of the normalised references."""
    duration_s: float


class ModelScore(_Record):
    """One model on the test set, and on the out-of-domain set where there is one."""

    name: str
    role: Role
    artefact_digest: str
    wer: Rate
    """Words after the Spanish normaliser."""
    orthographic_wer: Rate
    """Words as written: case, punctuation and accents count."""
    cer: Rate
    """Characters after the Spanish normaliser."""
    out_of_domain_wer: Rate | None
    failures: int
    """Clips that could not be decoded; scored as empty."""
    real_time_factor_p50: float | None
    """Decoding time over audio time, per clip (in a batch, its share); the median."""
    real_time_factor_p95: float | None


class Change(_Record):
    """The candidate against one other model, on the same draws of sessions."""

    against: str
    role: Role
    relative_improvement: Interval | None
    """Share of the other model's errors that are gone: 0.4 is 40 % fewer; below 0 is worse."""
    points: Interval | None
    """Change of the WER in points (× 100): above 0 is worse."""
    out_of_domain_points: Interval | None


class SliceRate(_Record):
    """One model on one slice."""

    model: str
    rate: Rate


class Slice(_Record):
    """A part of the test set that means something to a person."""

    dimension: Literal["overall", "loudness", "duration", "speaker"]
    name: str
    utterances: int
    sessions: int
    words: int
    too_small: str | None
    """Why nothing should be concluded from this slice, or None."""
    rates: tuple[SliceRate, ...]
    improvement: Interval | None
    """Relative improvement of the candidate over the base."""


class ExampleHypothesis(_Record):
    """What one model heard."""

    model: str
    text: str
    errors: int


class Example(_Record):
    """One utterance worth a look."""

    kind: Literal["improved", "worst", "regressed"]
    segment_id: str
    session_id: str
    speaker: str
    duration_s: float
    loudness_dbfs: float
    reference: str
    words: int
    hypotheses: tuple[ExampleHypothesis, ...]


class Provenance(_Record):
    """Where the numbers come from; `scorer` and the set's digest must be equal before two are compared."""

    snapshot_id: str
    conventions: str
    conventions_digest: str
    decoding: DecodingOptions
    hardware: str | None = None


class Method(_Record):
    """How the intervals and slices were made."""

    scorer: str
    bootstrap_draws: int
    seed: int
    quiet_below_dbfs: float
    smallest_slice_sessions: int
    smallest_slice_words: int


class Comparison(_Record):
    """Base, previous release and candidate on the same speech."""

    format: Literal["habla_ml.comparison/1"] = "habla_ml.comparison/1"
    test: ScoredSet
    out_of_domain: ScoredSet | None
    models: tuple[ModelScore, ...]
    """Ordered base, previous, candidate."""
    changes: tuple[Change, ...]
    slices: tuple[Slice, ...]
    examples: tuple[Example, ...]
    method: Method
    provenance: Provenance

    def model(self, role: Role) -> ModelScore | None:
        """The model in that role, or None."""
        return next((each for each in self.models if each.role == role), None)

    def change(self, role: Role) -> Change | None:
        """The candidate against the model in that role, or None."""
        return next((each for each in self.changes if each.role == role), None)

    def to_json(self) -> str:
        """JSON text that `read_comparison` reads back to an equal value."""
        return self.model_dump_json(indent=1) + "\n"

    def digest(self) -> str:
        """sha256 of the content, the same for the same evidence."""
        return digest_of(self.model_dump(mode="json"))


def read_comparison(text: str | bytes) -> Comparison:
    """Read stored evidence; raises `EvaluationError` that says which field is wrong."""
    try:
        return Comparison.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        raise EvaluationError(
            f"this is no comparison of format {FORMAT} ({faults}); evaluate the model version again"
        ) from error
