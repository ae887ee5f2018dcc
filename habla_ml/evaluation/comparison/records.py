"""The result of a comparison: the report shows it, the promotion rule reads it, and the lake stores it as evidence."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from habla_ml.corpus.general_speech import SpeechSourceSummary
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.annotator_difference import AnnotatorDifference
from habla_ml.evaluation.comparison.format_scores import FormatScores
from habla_ml.evaluation.comparison.profile_scores import ProfileScores
from habla_ml.evaluation.comparison.seed_spread import SeedSpread
from habla_ml.evaluation.comparison.superiority import Superiority
from habla_ml.evaluation.comparison.version_scores import TestSetReuse, VersionScore
from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.metrics.confidence import ConfidenceScore
from habla_ml.evaluation.metrics.confusions import ModelConfusions
from habla_ml.evaluation.metrics.diarisation import DiarisationScore
from habla_ml.evaluation.metrics.error_rates import WER
from habla_ml.evaluation.metrics.feature_errors import FeatureScore
from habla_ml.evaluation.metrics.hallucination import HallucinationScore
from habla_ml.evaluation.metrics.inputs import ModelRole
from habla_ml.evaluation.metrics.punctuation import PunctuationScore
from habla_ml.evaluation.metrics.speed_run import SpeedRun
from habla_ml.evaluation.metrics.term_recall import VocabularyScore
from habla_ml.evaluation.metrics.word_timing import WordTimingScore
from habla_ml.evaluation.scoring.alignment import ErrorCounts
from habla_ml.evaluation.scoring.rates import ErrorRate
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.lake import compute_digest
from habla_ml.transcription.options import EngineOptions

COMPARISON_FORMAT = "habla_ml.comparison/4"

Dimension = Literal[
    "overall",
    "loudness",
    "duration",
    "snr",
    "role",
    "seen_speaker",
    "sentence",
    "source",
    "reference",
    "speaker",
    "session",
]


class ScoredSet(EvaluationRecord):
    """A set of utterances that every model was scored on."""

    digest: str
    """sha256 over the sorted segment ids with their sentences; a corrected sentence makes another set."""
    utterances: int
    sessions: int
    words: int
    """Words of the normalised references."""
    duration_s: float


class DecodingFailures(EvaluationRecord):
    """Clips of the test set without an answer of the model; all but `fallback` are scored as an empty text."""

    audio: int = 0
    """Unusable audio."""
    timeout: int = 0
    crash: int = 0
    service: int = 0
    """A hosted service refused or was unavailable."""
    empty: int = 0
    """The model wrote nothing, without a fault."""
    fallback: int = 0
    """Decoded by the local engine because the hosted service was unavailable."""

    @property
    def faults(self) -> int:
        """Clips that were not decoded."""
        return self.audio + self.timeout + self.crash + self.service


class ModelScore(EvaluationRecord):
    """One model on the test set."""

    name: str
    role: ModelRole
    artefact_digest: str
    decoding: EngineOptions
    word_errors: ErrorCounts
    """Of the words after the Spanish normaliser."""
    metrics: dict[str, Interval]
    """Name of a metric (`metrics.registry`) → its value; what was not measured is missing."""
    failures: DecodingFailures
    timed_clips: int
    """Clips whose real-time factor was measured."""
    hallucination: HallucinationScore | None = None
    punctuation: PunctuationScore | None = None
    word_timing: WordTimingScore | None = None
    confidence: ConfidenceScore | None = None
    """None where the engine reports no confidence."""

    @property
    def wer(self) -> ErrorRate:
        """The word error rate with its counts."""
        return ErrorRate(counts=self.word_errors, interval=self.metrics.get(WER.name))


class SliceChange(EvaluationRecord):
    """The change of a large slice, corrected for the number of large slices."""

    dimension: Dimension
    name: str
    points: Interval
    """Change of the WER in points: above 0 is worse."""
    loss_lower_bound_points: float
    """Lower bound that holds for all slices at once: above 0, the slice is significantly worse."""


class Change(EvaluationRecord):
    """One model compared with another on the same draws."""

    of: str
    against: str
    role: ModelRole
    """Of `against`."""
    relative_improvement: Interval | None
    """Share of the word errors of `against` that `of` does not make: 0.4 is 40 % fewer; below 0 is worse."""
    metrics: dict[str, Interval]
    """Name of a metric → its difference in points (× 100); metrics without a paired difference are missing."""
    smallest_detectable_points: float | None
    """The true difference of the WER that this test set shows as significant in four of five cases."""
    superiority: Superiority | None = None
    """How probable it is that `of` makes fewer word errors; None without words."""
    slices: tuple[SliceChange, ...] = ()

    @property
    def points(self) -> Interval | None:
        """The difference of the WER in points: above 0 is worse."""
        return self.metrics.get(WER.name)


class SliceRate(EvaluationRecord):
    """One model on one slice."""

    model: str
    rate: ErrorRate


class Slice(EvaluationRecord):
    """A part of the test set."""

    dimension: Dimension
    name: str
    utterances: int
    sessions: int
    words: int
    too_small: str | None
    """Why the slice allows no conclusion, or None."""
    rates: tuple[SliceRate, ...]
    improvement: Interval | None
    """Relative improvement of the candidate over the base."""


class ExampleHypothesis(EvaluationRecord):
    """The text of one model."""

    model: str
    text: str
    errors: int


class ExampleUtterance(EvaluationRecord):
    """An utterance to inspect."""

    kind: Literal["improved", "worst", "regressed"]
    segment_id: str
    session_id: str
    speaker: str
    duration_s: float
    loudness_dbfs: float
    reference: str
    words: int
    hypotheses: tuple[ExampleHypothesis, ...]


class Parity(EvaluationRecord):
    """The converted artefact compared with its checkpoint on the same clips."""

    artefact: str
    """Digest of the artefact."""
    checkpoint: str
    """Digest of the checkpoint."""
    clips: int
    same_text_share: float
    points: Interval | None
    """WER of the artefact minus that of the checkpoint, in points, both decoded greedily."""


class Provenance(EvaluationRecord):
    """Origin of the test speech."""

    snapshot_id: str
    conventions: str
    conventions_digest: str
    hardware: str | None = None
    out_of_domain: tuple[SpeechSourceSummary, ...] = ()
    """Sources of general Spanish with their licences."""
    non_speech_problems: tuple[str, ...] = ()


class ComparisonMethod(EvaluationRecord):
    """How intervals and slices were computed; figures are comparable only with the same scorer and test set."""

    scorer: str
    interval_rule: str
    bootstrap_draws: int
    seed: int
    unit: Literal["session", "speaker"]
    quiet_below_dbfs: float
    smallest_slice_sessions: int
    smallest_slice_words: int
    vocabulary: str | None = None
    """sha256 of the domain terms."""
    compute_usd_per_hour: float | None = None
    """Price of the machine, of which the cost is computed."""


class Comparison(EvaluationRecord):
    """Several models on the same speech: base, previous release and candidate, or any others."""

    format: Literal["habla_ml.comparison/4"] = "habla_ml.comparison/4"
    test: ScoredSet
    out_of_domain: ScoredSet | None
    models: tuple[ModelScore, ...]
    """The base first, the candidate last."""
    changes: tuple[Change, ...]
    """The candidate against each other model; without a candidate, each model against each before it."""
    slices: tuple[Slice, ...]
    dialect_features: tuple[FeatureScore, ...] = ()
    vocabulary: VocabularyScore | None = None
    confusions: tuple[ModelConfusions, ...] = ()
    examples: tuple[ExampleUtterance, ...]
    parity: Parity | None = None
    """Of the candidate; None where it was not measured."""
    diarisation: DiarisationScore | None = None
    """Of Habla's own speaker labels, independent of the models; None without marked speaker turns."""
    annotators: AnnotatorDifference | None = None
    """How far two people differ on the same segments; None where it was not measured."""
    speed: SpeedRun | None = None
    """The times behind speed, memory and cost; None where nothing was timed."""
    profiles: ProfileScores | None = None
    """Of the candidate; None where `evaluation.profile_clips` is 0."""
    formats: FormatScores | None = None
    """Of the candidate; None where `evaluation.format_clips` is 0, and for a replicate."""
    seeds: SeedSpread | None = None
    """Of the candidate's training; None where it was trained with one seed."""
    versions: tuple[VersionScore, ...] = ()
    """The other versions, scored again on this test set; empty for a replicate and without a candidate."""
    reuse: TestSetReuse | None = None
    """Looks at this test set; None for a replicate and without a candidate."""
    method: ComparisonMethod
    provenance: Provenance

    def model(self, role: ModelRole) -> ModelScore | None:
        """Return the first model in that role, or None."""
        return next((each for each in self.models if each.role == role), None)

    def change(self, role: ModelRole) -> Change | None:
        """Return the change from the model in that role to the candidate, or None."""
        return next((each for each in self.changes if each.role == role), None)

    def to_json(self) -> str:
        """Return JSON text that `read_comparison` reads back to an equal value."""
        return self.model_dump_json(indent=1) + "\n"

    def digest(self) -> str:
        """Return the sha256 of the content."""
        return compute_digest(self.model_dump(mode="json"))


def read_comparison(text: str | bytes) -> Comparison:
    """Read stored evidence; raise `EvaluationError` that names the wrong fields."""
    try:
        return Comparison.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        raise EvaluationError(
            f"not a comparison of format {COMPARISON_FORMAT} ({faults}); evaluate the model version again"
        ) from error
