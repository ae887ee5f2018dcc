"""Score several decoded models on the same speech and compare them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.changes import compute_changes
from habla_ml.evaluation.comparison.error_tables import ErrorTables
from habla_ml.evaluation.comparison.examples import choose_examples
from habla_ml.evaluation.comparison.records import (
    Comparison,
    ComparisonMethod,
    DecodingFailures,
    ModelScore,
    Provenance,
    ScoredSet,
)
from habla_ml.evaluation.comparison.slices import compute_slices
from habla_ml.evaluation.comparison.test_set_digest import compute_test_set_digest
from habla_ml.evaluation.metrics.confidence import score_confidence
from habla_ml.evaluation.metrics.confusions import ModelConfusions, count_confusions, tabulate_confusions
from habla_ml.evaluation.metrics.dialect_features import find_dialect_features
from habla_ml.evaluation.metrics.feature_errors import FeatureScore, count_feature_errors, score_dialect_features
from habla_ml.evaluation.metrics.hallucination import score_hallucinations
from habla_ml.evaluation.metrics.inputs import (
    DecodedModel,
    MetricInputs,
    ModelRole,
    OptionalMeasurements,
    Reference,
    ScoredModel,
    ScoredSpeech,
    score_models,
)
from habla_ml.evaluation.metrics.metric import MetricTable
from habla_ml.evaluation.metrics.punctuation import score_punctuation_of_models
from habla_ml.evaluation.metrics.registry import METRICS
from habla_ml.evaluation.metrics.term_recall import score_vocabulary_of_models
from habla_ml.evaluation.metrics.word_timing import score_word_times
from habla_ml.evaluation.scoring.alignment import SCORER_VERSION, compute_corpus_wer, sum_counts
from habla_ml.evaluation.scoring.normalisation import normalise_spanish_pair
from habla_ml.evaluation.scoring.statistics import INTERVAL_RULE

if TYPE_CHECKING:
    from habla_ml.settings import EvaluationSettings

_ROLE_ORDER: tuple[ModelRole, ...] = ("base", "previous", "compared", "candidate")
_NO_MEASUREMENTS = OptionalMeasurements()


def compare_decoded_models(
    utterances: Iterable[Utterance],
    models: Sequence[DecodedModel],
    settings: EvaluationSettings,
    provenance: Provenance,
    measurements: OptionalMeasurements = _NO_MEASUREMENTS,
) -> Comparison:
    """Return the comparison of `compare_with_error_tables` without the tables."""
    return compare_with_error_tables(utterances, models, settings, provenance, measurements)[0]


def compare_with_error_tables(
    utterances: Iterable[Utterance],
    models: Sequence[DecodedModel],
    settings: EvaluationSettings,
    provenance: Provenance,
    measurements: OptionalMeasurements = _NO_MEASUREMENTS,
) -> tuple[Comparison, ErrorTables]:
    """Score every model on the same utterances, with paired 95 % intervals, and list every utterance and every error.

    Of the audio only the noise is estimated, so memory holds text only when `utterances` is a generator. An empty test
    set gives a comparison without figures, which the promotion rule refuses.

    Raises:
        EvaluationError: There is no model, two models share a name or a deciding role, or a model has no hypothesis
            for an utterance.
    """
    _check_distinct_models(models)
    models = sorted(models, key=lambda each: _ROLE_ORDER.index(each.role))
    inputs = MetricInputs(
        models=models,
        test=score_models(
            [Reference.of(each) for each in utterances],
            [(each, each.hypotheses) for each in models],
            settings.unit,
            settings,
        ),
        out_of_domain=_score_out_of_domain(measurements.out_of_domain, models, settings),
        measurements=measurements,
        settings=settings,
    )
    tables = {metric.name: metric.measure(inputs) for metric in METRICS}
    sliced = compute_slices(inputs.test, settings)
    vocabulary = inputs.compute_once(score_vocabulary_of_models)
    comparison = Comparison(
        test=_describe_set(inputs.test),
        out_of_domain=_describe_set(inputs.out_of_domain) if inputs.out_of_domain else None,
        models=_make_model_scores(inputs, tables),
        changes=compute_changes(inputs, tables, sliced),
        slices=tuple(part for part, _ in sliced),
        dialect_features=_score_dialect_features(inputs),
        vocabulary=vocabulary[0] if vocabulary else None,
        confusions=_tabulate_confusions(inputs),
        examples=choose_examples(inputs.test),
        method=_describe_method(settings, measurements),
        provenance=provenance,
        speed=measurements.speed,
    )
    return comparison, ErrorTables.of(inputs.test)


def _check_distinct_models(models: Sequence[DecodedModel]) -> None:
    if not models:
        raise EvaluationError("there is no model to compare; pass at least the base and a candidate")
    for what, values in (
        ("name", [each.name for each in models]),
        ("role", [each.role for each in models if each.role != "compared"]),
    ):
        if len(set(values)) < len(values):
            raise EvaluationError(f"two models share a {what}: {', '.join(values)}; give each its own")


def _score_out_of_domain(
    utterances: Sequence[Utterance] | None, models: Sequence[DecodedModel], settings: EvaluationSettings
) -> ScoredSpeech | None:
    """Score general speech; its sessions are voices, so sessions are drawn whatever unit the settings choose."""
    if not utterances:
        return None
    references = [Reference.of(each) for each in utterances]
    return score_models(references, [(each, each.out_of_domain) for each in models], "session", settings)


def _make_model_scores(inputs: MetricInputs, tables: Mapping[str, MetricTable]) -> tuple[ModelScore, ...]:
    scores = []
    for at, (model, scored) in enumerate(zip(inputs.models, inputs.test.models, strict=True)):
        _verify_wer(inputs.test.references, scored)
        values = {name: table.values[at] for name, table in tables.items()}
        scores.append(
            ModelScore(
                name=model.name,
                role=model.role,
                artefact_digest=model.artefact_digest,
                decoding=model.decoding,
                word_errors=sum_counts(scored.words),
                metrics={name: value for name, value in values.items() if value is not None},
                failures=_count_failures(model, inputs.test.references),
                timed_clips=_count_timed_clips(inputs, model.name),
                hallucination=inputs.compute_once(score_hallucinations)[at],
                punctuation=inputs.compute_once(score_punctuation_of_models)[at],
                word_timing=inputs.compute_once(score_word_times)[at],
                confidence=inputs.compute_once(score_confidence)[at],
            )
        )
    return tuple(scores)


def _count_timed_clips(inputs: MetricInputs, model: str) -> int:
    run = inputs.measurements.speed
    return run.clips if run and run.find(model) else 0


def _verify_wer(references: Sequence[Reference], model: ScoredModel) -> None:
    """Compute the WER a second time with jiwer and raise `EvaluationError` where the two differ."""
    counted = sum_counts(model.words).wer
    pairs = [normalise_spanish_pair(each.sentence, text) for each, text in zip(references, model.texts, strict=True)]
    second = compute_corpus_wer([reference for reference, _ in pairs], [text for _, text in pairs])
    if counted is not None and second is not None and abs(second - counted) > 1e-9:
        raise EvaluationError(
            f"the WER of {model.name} is {counted} by its counts and {second} by jiwer; check the "
            "installed jiwer against constraints.txt"
        )


def _count_failures(model: DecodedModel, references: Sequence[Reference]) -> DecodingFailures:
    decoded = [model.hypothesis_by_audio[each.audio_sha256] for each in references]
    kinds: list[str] = [each.failure or ("" if each.text.strip() else "empty") for each in decoded]
    counted = {kind: kinds.count(kind) for kind in DecodingFailures.model_fields}
    return DecodingFailures(**{**counted, "fallback": sum(each.fallback_engine is not None for each in decoded)})


def _find_model(inputs: MetricInputs, role: ModelRole) -> int | None:
    return next((at for at, each in enumerate(inputs.models) if each.role == role), None)


def _score_dialect_features(inputs: MetricInputs) -> tuple[FeatureScore, ...]:
    speech = inputs.test
    annotated = find_dialect_features([each.sentence for each in speech.references])
    return score_dialect_features(
        [each.name for each in inputs.models],
        [count_feature_errors(annotated, each) for each in speech.alignments],
        speech.sessions,
        speech.draws,
        _find_model(inputs, "base"),
        _find_model(inputs, "candidate"),
    )


def _tabulate_confusions(inputs: MetricInputs) -> tuple[ModelConfusions, ...]:
    segments = [each.segment_id for each in inputs.test.references]
    return tabulate_confusions(
        [each.name for each in inputs.models],
        [count_confusions(segments, each) for each in inputs.test.alignments],
        _find_model(inputs, "base"),
    )


def _describe_method(settings: EvaluationSettings, measurements: OptionalMeasurements) -> ComparisonMethod:
    return ComparisonMethod(
        scorer=SCORER_VERSION,
        interval_rule=INTERVAL_RULE,
        bootstrap_draws=settings.bootstrap_draws,
        seed=settings.seed,
        unit=settings.unit,
        quiet_below_dbfs=settings.quiet_below_dbfs,
        smallest_slice_sessions=settings.smallest_slice_sessions,
        smallest_slice_words=settings.smallest_slice_words,
        vocabulary=None if measurements.vocabulary is None else measurements.vocabulary.digest,
        compute_usd_per_hour=settings.compute_usd_per_hour,
    )


def _describe_set(speech: ScoredSpeech) -> ScoredSet:
    references = speech.references
    return ScoredSet(
        digest=compute_test_set_digest((each.segment_id, each.sentence) for each in references),
        utterances=len(references),
        sessions=len(set(speech.sessions)),
        words=sum_counts(speech.models[0].words).reference_words,
        duration_s=round(sum(each.duration_s for each in references), 3),
    )
