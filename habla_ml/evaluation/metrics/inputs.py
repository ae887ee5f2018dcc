"""The inputs of every metric: decoded models, their scores and the bootstrap draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from habla_ml.audio.snr import estimate_snr_db
from habla_ml.corpus.snapshot import TranscribedSegment, Utterance
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.metrics.alignments import Alignments
from habla_ml.evaluation.metrics.domain_vocabulary import DomainVocabulary
from habla_ml.evaluation.metrics.non_speech import NonSpeechSet
from habla_ml.evaluation.metrics.speed_run import SpeedRun
from habla_ml.evaluation.scoring.alignment import AlignedWord, ErrorCounts, align_words, score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_orthographic, normalise_spanish
from habla_ml.evaluation.scoring.statistics import Draws
from habla_ml.names import choose_spellings
from habla_ml.recordings.speaker_labels import is_local_speaker_label
from habla_ml.transcription.engine import Hypothesis, Usage

if TYPE_CHECKING:
    from habla_ml.settings import EvaluationSettings
    from habla_ml.transcription.options import EngineOptions

ModelRole = Literal["base", "previous", "candidate", "compared"]
"""All others are compared with the base; `compared` takes part in a comparison that decides no release."""
BootstrapUnit = Literal["session", "speaker"]
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Reference(TranscribedSegment):
    """An utterance without its audio, for scoring."""

    snr_db: float | None = None
    """Estimated signal-to-noise ratio; None if it cannot be estimated."""

    @classmethod
    def of(cls, utterance: Utterance) -> Self:
        """Estimate the signal-to-noise ratio and drop the audio, in about 0.5 ms a clip; memory holds text only."""
        values = {each.name: getattr(utterance, each.name) for each in fields(TranscribedSegment)}
        return cls(**values, snr_db=estimate_snr_db(utterance.audio))

    @property
    def speaker_key(self) -> str:
        """The enrolled name, or the session with its local label: `SPEAKER_00` of two sessions may be two people."""
        label = self.speaker.strip()
        is_local = is_local_speaker_label(self.session_id, label)
        return f"{self.session_id} · {label or 'no label'}" if is_local else label


@dataclass(frozen=True)
class DecodedModel:
    """A model with its hypotheses; their order does not matter, and surplus ones are ignored."""

    name: str
    role: ModelRole
    artefact_digest: str
    decoding: EngineOptions
    hypotheses: Sequence[Hypothesis]
    """Of the test set."""
    out_of_domain: Sequence[Hypothesis] = ()
    non_speech: Sequence[Hypothesis] = ()
    timed: Sequence[Hypothesis] = ()
    """Of the test clips with a manual alignment, decoded with `word_times`; empty where there is none."""
    usage: Usage = field(default_factory=Usage)
    """Memory, time and money that decoding took."""
    newly_decoded: int = 0
    """Clips that were not in the cache."""

    @cached_property
    def hypothesis_by_audio(self) -> Mapping[str, Hypothesis]:
        """The hypotheses of the test set by the sha256 of the audio."""
        return {each.audio_sha256: each for each in self.hypotheses}


@dataclass(frozen=True)
class OptionalMeasurements:
    """Inputs of further measurements; a measurement whose input is None is skipped."""

    out_of_domain: Sequence[Utterance] | None = None
    """General Spanish, on which a fine-tuned model may become worse."""
    non_speech: NonSpeechSet | None = None
    vocabulary: DomainVocabulary | None = None
    alignments: Alignments | None = None
    """Manual word times."""
    speed: SpeedRun | None = None
    """Times of decoding, measured for this comparison."""


@dataclass(frozen=True)
class ScoredModel:
    """The error counts of one model for every utterance of a set, in the order of the set."""

    name: str
    role: ModelRole
    texts: tuple[str, ...]
    words: tuple[ErrorCounts, ...]
    """After the Spanish normaliser."""
    characters: tuple[ErrorCounts, ...]
    orthographic: tuple[ErrorCounts, ...]


@dataclass(frozen=True)
class ScoredSpeech:
    """A set of utterances with the scores of every model and its bootstrap draws."""

    references: tuple[Reference, ...]
    models: tuple[ScoredModel, ...]
    draws: Draws
    """Of the sessions or speakers, as the settings choose."""

    @cached_property
    def sessions(self) -> list[str]:
        """The session of each utterance."""
        return [each.session_id for each in self.references]

    @cached_property
    def alignments(self) -> list[list[list[AlignedWord]]]:
        """Word alignments after the Spanish normaliser: models, utterances, steps."""
        sentences = [normalise_spanish(each.sentence) for each in self.references]
        return [
            [align_words(one, normalise_spanish(text)) for one, text in zip(sentences, model.texts, strict=True)]
            for model in self.models
        ]


@dataclass
class MetricInputs:
    """The decoded models, everything that they are scored against, and intermediate results that metrics share."""

    models: Sequence[DecodedModel]
    test: ScoredSpeech
    out_of_domain: ScoredSpeech | None
    measurements: OptionalMeasurements
    settings: EvaluationSettings
    _results: dict[Callable[[MetricInputs], Any], Any] = field(default_factory=dict, repr=False)

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs to compare, (before, after): the candidate with each other model, or each with each."""
        roles = [each.role for each in self.models]
        if "candidate" not in roles:
            return list(combinations(range(len(roles)), 2))
        candidate = roles.index("candidate")
        return [(at, candidate) for at in range(len(roles)) if at != candidate]

    def compute_once(self, compute: Callable[[MetricInputs], Result]) -> Result:
        """Return `compute(self)`, computed at its first use only."""
        if compute not in self._results:
            self._results[compute] = compute(self)
        result: Result = self._results[compute]
        return result


def score_models(
    references: Sequence[Reference],
    models: Sequence[tuple[DecodedModel, Sequence[Hypothesis]]],
    unit: BootstrapUnit,
    settings: EvaluationSettings,
) -> ScoredSpeech:
    """Score each model's hypotheses of the references.

    Raises:
        EvaluationError: A model has no hypothesis for an utterance.
    """
    typed = [each.speaker_key if unit == "speaker" else each.session_id for each in references]
    shown = choose_spellings(typed)
    return ScoredSpeech(
        tuple(references),
        tuple(_score_model(model, references, hypotheses) for model, hypotheses in models),
        Draws.of([shown[each] for each in typed], settings.bootstrap_draws, settings.seed),
    )


def _score_model(model: DecodedModel, references: Sequence[Reference], hypotheses: Sequence[Hypothesis]) -> ScoredModel:
    by_audio = {each.audio_sha256: each.text for each in hypotheses}
    missing = [each.segment_id for each in references if each.audio_sha256 not in by_audio]
    if missing:
        raise EvaluationError(
            f"{model.name} has no hypothesis for {len(missing)} of {len(references)} utterances, the first is "
            f"{missing[0]}; transcribe the whole set with every model before comparing"
        )
    texts = tuple(by_audio[each.audio_sha256] for each in references)
    sentences = [each.sentence for each in references]
    normalised = score_utterances(sentences, texts, normalise_spanish)
    as_written = score_utterances(sentences, texts, normalise_orthographic)
    return ScoredModel(
        name=model.name,
        role=model.role,
        texts=texts,
        words=tuple(each.words for each in normalised),
        characters=tuple(each.characters for each in normalised),
        orthographic=tuple(each.words for each in as_written),
    )
