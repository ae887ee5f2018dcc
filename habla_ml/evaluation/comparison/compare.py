"""Scores several models on the same speech, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.changes import CountResamples, ModelFindings, compute_changes
from habla_ml.evaluation.comparison.error_tables import ErrorTables
from habla_ml.evaluation.comparison.examples import choose_examples
from habla_ml.evaluation.comparison.records import (
    Comparison,
    ComparisonMethod,
    DecodingFailures,
    DecodingResources,
    ErrorRate,
    ModelRole,
    ModelScore,
    Parity,
    Provenance,
    ScoredSet,
)
from habla_ml.evaluation.comparison.slices import Reference, compute_slices, list_units
from habla_ml.evaluation.metrics.alignments import Alignments, is_aligned
from habla_ml.evaluation.metrics.confusions import count_confusions, tabulate_confusions
from habla_ml.evaluation.metrics.dialect_features import AnnotatedSentence, find_dialect_features
from habla_ml.evaluation.metrics.diarisation import DiarisationScore
from habla_ml.evaluation.metrics.domain_vocabulary import DomainVocabulary, count_terms, score_vocabulary
from habla_ml.evaluation.metrics.feature_errors import count_feature_errors, score_dialect_features
from habla_ml.evaluation.metrics.hallucination import score_hallucination
from habla_ml.evaluation.metrics.hallucination_detection import (
    HallucinationThresholds,
    find_non_speech_hallucinations,
    find_speech_hallucinations,
)
from habla_ml.evaluation.metrics.non_speech import NonSpeechSet
from habla_ml.evaluation.metrics.punctuation import count_punctuation, score_punctuation
from habla_ml.evaluation.metrics.speed import measure_speed
from habla_ml.evaluation.metrics.word_timing import WordTimingScore, measure_word_timing, score_word_timing
from habla_ml.evaluation.scoring.alignment import (
    SCORER_VERSION,
    AlignedWord,
    align_words,
    compute_corpus_wer,
    score_utterances,
)
from habla_ml.evaluation.scoring.normalisation import normalise_orthographic, normalise_spanish
from habla_ml.evaluation.scoring.rates import ScoredModel, compute_rate, make_draws, stack_counts
from habla_ml.evaluation.scoring.statistics import INTERVAL_RULE, Resample, to_interval
from habla_ml.lake import compute_digest
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.options import EngineOptions

if TYPE_CHECKING:
    from habla_ml.settings import EvaluationSettings

_ROLE_ORDER: tuple[ModelRole, ...] = ("base", "previous", "compared", "candidate")


@dataclass(frozen=True)
class DecodedModel:
    """A model and what it heard; order and surplus of the hypotheses do not matter."""

    name: str
    role: ModelRole
    artefact_digest: str
    decoding: EngineOptions
    hypotheses: Sequence[Hypothesis]
    """Of the test set."""
    out_of_domain: Sequence[Hypothesis] = ()
    non_speech: Sequence[Hypothesis] = ()
    timed: Sequence[Hypothesis] = ()
    """Of the clips of the test set with an alignment, decoded with `word_times`; empty where there is none."""
    resources: DecodingResources = field(default_factory=DecodingResources)


@dataclass(frozen=True)
class OptionalMeasurements:
    """What is measured besides the error rate on the test set; each is left out where it is None."""

    out_of_domain: Sequence[Utterance] | None = None
    """Speech of another kind, on which nothing may be forgotten."""
    non_speech: NonSpeechSet | None = None
    vocabulary: DomainVocabulary | None = None
    alignments: Alignments | None = None
    """Words with their times, set by hand."""
    parity: Parity | None = None
    diarisation: DiarisationScore | None = None


_NO_MEASUREMENTS = OptionalMeasurements()


def compare_decoded_models(
    utterances: Iterable[Utterance],
    evaluated: Sequence[DecodedModel],
    settings: EvaluationSettings,
    provenance: Provenance,
    measurements: OptionalMeasurements = _NO_MEASUREMENTS,
) -> Comparison:
    """What `compare_with_error_tables` finds, without the records."""
    return _compare_and_score(utterances, evaluated, settings, provenance, measurements)[0]


def compare_with_error_tables(
    utterances: Iterable[Utterance],
    evaluated: Sequence[DecodedModel],
    settings: EvaluationSettings,
    provenance: Provenance,
    measurements: OptionalMeasurements = _NO_MEASUREMENTS,
) -> tuple[Comparison, ErrorTables]:
    """Score every model on the same utterances, with paired 95 % intervals; with every utterance and every error.

    The audio is not touched, so memory holds text only when `utterances` is a generator. An empty test set gives a
    comparison without figures, which the promotion rule refuses.

    Raises:
        EvaluationError: There is no model, two models share a name or a deciding role, or a model lacks the
            hypothesis of an utterance.
    """
    comparison, scored = _compare_and_score(utterances, evaluated, settings, provenance, measurements)
    return comparison, ErrorTables.of(scored.references, scored.models, scored.alignments)


def _compare_and_score(
    utterances: Iterable[Utterance],
    evaluated: Sequence[DecodedModel],
    settings: EvaluationSettings,
    provenance: Provenance,
    measurements: OptionalMeasurements,
) -> tuple[Comparison, _ScoredTestSet]:
    _check_distinct_models(evaluated)
    evaluated = sorted(evaluated, key=lambda each: _ROLE_ORDER.index(each.role))
    scored = _ScoredTestSet(evaluated, [Reference.of(each) for each in utterances], settings, measurements)
    general = _score_out_of_domain(measurements.out_of_domain, evaluated, settings)
    roles = {each.role: at for at, each in enumerate(evaluated)}
    base, candidate = roles.get("base"), roles.get("candidate")
    names = [each.name for each in evaluated]
    sliced = compute_slices(scored.references, scored.models, scored.draws, settings)
    comparison = Comparison(
        test=_describe_set(scored.references, scored.tables.words.words),
        out_of_domain=general.scored_set if general else None,
        models=tuple(scored.model(at, general.rates[at] if general else None) for at in range(len(evaluated))),
        changes=compute_changes(
            evaluated,
            scored.tables,
            general.resample if general else None,
            sliced,
            scored.findings,
            settings.bootstrap_draws,
            settings.seed,
        ),
        slices=tuple(part for part, _ in sliced),
        dialect_features=score_dialect_features(
            names,
            [count_feature_errors(scored.features, each) for each in scored.alignments],
            [each.session_id for each in scored.references],
            scored.draws,
            base,
            candidate,
        ),
        vocabulary=None
        if measurements.vocabulary is None
        else score_vocabulary(
            measurements.vocabulary,
            names,
            [count_terms(measurements.vocabulary, each) for each in scored.alignments],
            scored.draws,
            base,
            candidate,
        ),
        confusions=tabulate_confusions(
            names,
            [
                count_confusions([each.segment_id for each in scored.references], each)
                for each in scored.alignments
            ],
            base,
        ),
        examples=choose_examples(scored.references, scored.models),
        parity=measurements.parity,
        diarisation=measurements.diarisation,
        method=_describe_method(settings, measurements.vocabulary),
        provenance=provenance,
    )
    return comparison, scored


@dataclass
class _ScoredTestSet:
    """Every model's counts on the test set, each kind computed once."""

    evaluated: Sequence[DecodedModel]
    references: list[Reference]
    settings: EvaluationSettings
    measurements: OptionalMeasurements

    def __post_init__(self) -> None:
        self.models = [
            _score_model(each.name, each.role, self.references, each.hypotheses) for each in self.evaluated
        ]
        self.draws = make_draws(list_units(self.references, self.settings.unit), self.settings)
        self.tables = CountResamples.of(self.models, self.draws)
        self.findings = [
            self._find_hallucinations(*pair) for pair in zip(self.evaluated, self.models, strict=True)
        ]

    def _find_hallucinations(self, each: DecodedModel, model: ScoredModel) -> ModelFindings:
        settings, clips = self.settings, self.measurements.non_speech
        bounds = HallucinationThresholds(
            settings.short_below_s, settings.compression_ratio, settings.stock_phrases
        )
        return ModelFindings(
            sessions=[reference.session_id for reference in self.references],
            speech=find_speech_hallucinations(self.references, model.texts, model.words, bounds),
            non_speech=None
            if clips is None
            else find_non_speech_hallucinations(clips.clips, _index_by_audio(each.non_speech)),
            punctuation=count_punctuation([reference.sentence for reference in self.references], model.texts),
        )

    @cached_property
    def alignments(self) -> list[list[list[AlignedWord]]]:
        """Word by word: models, utterances, steps."""
        said = [normalise_spanish(each.sentence) for each in self.references]
        return [
            [align_words(left, normalise_spanish(text)) for left, text in zip(said, model.texts, strict=True)]
            for model in self.models
        ]

    @cached_property
    def features(self) -> list[AnnotatedSentence]:
        """Where the references hold what Andalusian speech changes."""
        return find_dialect_features([each.sentence for each in self.references])

    def model(self, at: int, general: ErrorRate | None) -> ModelScore:
        """The scores of one model."""
        each, model, tables = self.evaluated[at], self.models[at], self.tables
        by_audio = _index_by_audio(each.hypotheses)
        heard = [by_audio[reference.audio_sha256] for reference in self.references]
        found, clips = self.findings[at], self.measurements.non_speech
        drawn = (self.settings.bootstrap_draws, self.settings.seed)
        return ModelScore(
            name=each.name,
            role=each.role,
            artefact_digest=each.artefact_digest,
            decoding=each.decoding,
            wer=_verify_wer(compute_rate(model.words, tables.words, at), self.references, model),
            orthographic_wer=compute_rate(model.orthographic, tables.orthographic, at),
            cer=compute_rate(model.characters, tables.characters, at),
            substitution_rate=to_interval(tables.substitutions.rate(at)),
            deletion_rate=to_interval(tables.deletions.rate(at)),
            insertion_rate=to_interval(tables.insertions.rate(at)),
            out_of_domain_wer=general,
            failures=_count_failures(heard),
            speed=measure_speed(heard),
            resources=each.resources,
            hallucination=None
            if clips is None or found.non_speech is None
            else score_hallucination(found.speech, found.non_speech, clips.digest, *drawn),
            punctuation=score_punctuation(found.sessions, found.punctuation, *drawn) if self.references else None,
            word_timing=self._score_word_timing(each, drawn),
        )

    def _score_word_timing(self, each: DecodedModel, drawn: tuple[int, int]) -> WordTimingScore | None:
        if self.measurements.alignments is None or not each.timed:
            return None
        by_audio, manual = _index_by_audio(each.timed), self.measurements.alignments
        aligned = [one for one in self.references if is_aligned(manual, one.segment_id, one.audio_sha256)]
        timed = [by_audio[reference.audio_sha256] for reference in aligned]
        return score_word_timing(measure_word_timing(aligned, timed, manual), *drawn)


@dataclass(frozen=True)
class _OutOfDomainScores:
    scored_set: ScoredSet
    rates: tuple[ErrorRate, ...]
    resample: Resample


def _check_distinct_models(evaluated: Sequence[DecodedModel]) -> None:
    if not evaluated:
        raise EvaluationError("there is no model to compare; pass at least the base and a candidate")
    for what, values in (
        ("name", [each.name for each in evaluated]),
        ("role", [each.role for each in evaluated if each.role != "compared"]),
    ):
        if len(set(values)) < len(values):
            raise EvaluationError(f"two models share a {what}: {', '.join(values)}; give each its own")


def _score_model(
    name: str, role: ModelRole, references: Sequence[Reference], hypotheses: Sequence[Hypothesis]
) -> ScoredModel:
    heard = _index_by_audio(hypotheses)
    missing = [each.segment_id for each in references if each.audio_sha256 not in heard]
    if missing:
        raise EvaluationError(
            f"{name} has no hypothesis for {len(missing)} of {len(references)} utterances, the first is "
            f"{missing[0]}; transcribe the whole set with every model before comparing"
        )
    texts = tuple(heard[each.audio_sha256].text for each in references)
    sentences = [each.sentence for each in references]
    normalised = score_utterances(sentences, texts, normalise_spanish)
    as_written = score_utterances(sentences, texts, normalise_orthographic)
    return ScoredModel(
        name=name,
        role=role,
        texts=texts,
        words=tuple(each.words for each in normalised),
        characters=tuple(each.characters for each in normalised),
        orthographic=tuple(each.words for each in as_written),
    )


def _score_out_of_domain(
    utterances: Sequence[Utterance] | None, evaluated: Sequence[DecodedModel], settings: EvaluationSettings
) -> _OutOfDomainScores | None:
    if not utterances:
        return None
    references = [Reference.of(each) for each in utterances]
    models = [_score_model(each.name, each.role, references, each.out_of_domain) for each in evaluated]
    # A voice is a session here, whatever unit the classroom's draws have.
    draws = make_draws(list_units(references, "session"), settings)
    (resample,) = draws.resample([stack_counts([each.words for each in models])])
    return _OutOfDomainScores(
        _describe_set(references, resample.words),
        tuple(compute_rate(model.words, resample, at) for at, model in enumerate(models)),
        resample,
    )


def _verify_wer(rate: ErrorRate, references: Sequence[Reference], model: ScoredModel) -> ErrorRate:
    """`rate`, computed a second time through `evaluate`: the counts behind a release agree or nothing is said."""
    second = compute_corpus_wer(
        [normalise_spanish(each.sentence) for each in references],
        [normalise_spanish(text) for text in model.texts],
    )
    if rate.value is None or second is None:
        return rate
    if abs(second - rate.value) > 1e-9:
        raise EvaluationError(
            f"the WER of {model.name} is {rate.value} by its counts and {second} by the evaluate metric; check "
            "the installed jiwer against constraints.txt"
        )
    return rate


def _count_failures(heard: Sequence[Hypothesis]) -> DecodingFailures:
    kinds: list[str] = [each.failure or ("" if each.text.strip() else "empty") for each in heard]
    counted = {kind: kinds.count(kind) for kind in DecodingFailures.model_fields}
    return DecodingFailures(**{**counted, "fallback": sum(each.fallback_engine is not None for each in heard)})


def _describe_method(settings: EvaluationSettings, vocabulary: DomainVocabulary | None) -> ComparisonMethod:
    return ComparisonMethod(
        scorer=SCORER_VERSION,
        interval_rule=INTERVAL_RULE,
        bootstrap_draws=settings.bootstrap_draws,
        seed=settings.seed,
        unit=settings.unit,
        quiet_below_dbfs=settings.quiet_below_dbfs,
        smallest_slice_sessions=settings.smallest_slice_sessions,
        smallest_slice_words=settings.smallest_slice_words,
        vocabulary=None if vocabulary is None else vocabulary.digest,
    )


def _describe_set(references: Sequence[Reference], words: int) -> ScoredSet:
    return ScoredSet(
        digest=compute_digest(sorted([each.segment_id, each.sentence] for each in references)),
        utterances=len(references),
        sessions=len({each.session_id for each in references}),
        words=words,
        duration_s=round(sum(each.duration_s for each in references), 3),
    )


def _index_by_audio(hypotheses: Sequence[Hypothesis]) -> Mapping[str, Hypothesis]:
    return {each.audio_sha256: each for each in hypotheses}
