"""Scores base, previous release and candidate on the same speech, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison import (
    Change,
    Comparison,
    Method,
    ModelScore,
    Provenance,
    Rate,
    Role,
    ScoredSet,
)
from habla_ml.evaluation.examples import choose_examples
from habla_ml.evaluation.normalise import orthographic, spanish
from habla_ml.evaluation.rates import ScoredModel, rate_of, resample_models
from habla_ml.evaluation.scoring import VERSION, corpus_wer, score_utterances
from habla_ml.evaluation.slices import Reference, slices_of
from habla_ml.evaluation.statistics import Resample, paired_point_change, paired_relative_improvement
from habla_ml.evaluation.transcribe import Hypothesis
from habla_ml.lake import digest_of

if TYPE_CHECKING:
    from habla_ml.settings import EvaluationSettings

_ORDER: tuple[Role, ...] = ("base", "previous", "candidate")


@dataclass(frozen=True)
class Evaluated:
    """A model and what it heard on the test set; order and surplus of the hypotheses do not matter."""

    name: str
    role: Role
    artefact_digest: str
    hypotheses: Sequence[Hypothesis]


@dataclass(frozen=True)
class OutOfDomain:
    """Speech of another kind, on which nothing may be forgotten."""

    utterances: Iterable[Utterance]
    hypotheses: Mapping[str, Sequence[Hypothesis]]
    """Name of the model → what it heard."""


def compare_versions(
    utterances: Iterable[Utterance],
    evaluated: Sequence[Evaluated],
    out_of_domain: OutOfDomain | None,
    settings: EvaluationSettings,
    provenance: Provenance,
) -> Comparison:
    """Score every model on the same utterances, with paired 95 % intervals.

    The audio is not touched, so memory holds text only when `utterances` is a generator. An empty test set gives a
    comparison without figures, which the promotion rule refuses.

    Raises:
        EvaluationError: There is no model, two models share a name or a role, or a model lacks the hypothesis of
            an utterance.
    """
    _refuse_confusion(evaluated)
    evaluated = sorted(evaluated, key=lambda each: _ORDER.index(each.role))
    references = [Reference.of(each) for each in utterances]
    models = [_score(each.name, each.role, references, each.hypotheses) for each in evaluated]
    sessions = [each.session_id for each in references]
    words = resample_models(sessions, [each.words for each in models], settings)
    characters = resample_models(sessions, [each.characters for each in models], settings)
    as_written = resample_models(sessions, [each.orthographic for each in models], settings)
    general = _score_out_of_domain(out_of_domain, evaluated, settings)
    scores = []
    for at, (each, model) in enumerate(zip(evaluated, models, strict=True)):
        heard = _by_audio(each.hypotheses)
        p50, p95 = _real_time_factors([heard[reference.audio_sha256] for reference in references])
        scores.append(
            ModelScore(
                name=each.name,
                role=each.role,
                artefact_digest=each.artefact_digest,
                wer=_checked(rate_of(model.words, words, at), references, model),
                orthographic_wer=rate_of(model.orthographic, as_written, at),
                cer=rate_of(model.characters, characters, at),
                out_of_domain_wer=general.rates[at] if general else None,
                failures=sum(heard[reference.audio_sha256].failure is not None for reference in references),
                real_time_factor_p50=p50,
                real_time_factor_p95=p95,
            )
        )
    return Comparison(
        test=_scored_set(references, words.words),
        out_of_domain=general.scored_set if general else None,
        models=tuple(scores),
        changes=_changes(evaluated, words, general.resample if general else None),
        slices=slices_of(references, models, settings),
        examples=choose_examples(references, models),
        method=Method(
            scorer=VERSION,
            bootstrap_draws=settings.bootstrap_draws,
            seed=settings.seed,
            quiet_below_dbfs=settings.quiet_below_dbfs,
            smallest_slice_sessions=settings.smallest_slice_sessions,
            smallest_slice_words=settings.smallest_slice_words,
        ),
        provenance=provenance,
    )


@dataclass(frozen=True)
class _General:
    scored_set: ScoredSet
    rates: tuple[Rate, ...]
    resample: Resample


def _refuse_confusion(evaluated: Sequence[Evaluated]) -> None:
    if not evaluated:
        raise EvaluationError("there is no model to compare; pass at least the base and a candidate")
    for what, values in (
        ("name", [each.name for each in evaluated]),
        ("role", [each.role for each in evaluated]),
    ):
        if len(set(values)) < len(values):
            raise EvaluationError(f"two models share a {what}: {', '.join(values)}; give each its own")


def _score(
    name: str, role: Role, references: Sequence[Reference], hypotheses: Sequence[Hypothesis]
) -> ScoredModel:
    heard = _by_audio(hypotheses)
    missing = [each.segment_id for each in references if each.audio_sha256 not in heard]
    if missing:
        raise EvaluationError(
            f"{name} has no hypothesis for {len(missing)} of {len(references)} utterances, the first is "
            f"{missing[0]}; transcribe the whole set with every model before comparing"
        )
    texts = tuple(heard[each.audio_sha256].text for each in references)
    sentences = [each.sentence for each in references]
    normalised = score_utterances(sentences, texts, spanish)
    as_written = score_utterances(sentences, texts, orthographic)
    return ScoredModel(
        name=name,
        role=role,
        texts=texts,
        words=tuple(each.words for each in normalised),
        characters=tuple(each.characters for each in normalised),
        orthographic=tuple(each.words for each in as_written),
    )


def _score_out_of_domain(
    out_of_domain: OutOfDomain | None, evaluated: Sequence[Evaluated], settings: EvaluationSettings
) -> _General | None:
    if out_of_domain is None:
        return None
    references = [Reference.of(each) for each in out_of_domain.utterances]
    models = [
        _score(each.name, each.role, references, out_of_domain.hypotheses.get(each.name, ())) for each in evaluated
    ]
    resample = resample_models([each.session_id for each in references], [each.words for each in models], settings)
    return _General(
        _scored_set(references, resample.words),
        tuple(rate_of(model.words, resample, at) for at, model in enumerate(models)),
        resample,
    )


def _checked(rate: Rate, references: Sequence[Reference], model: ScoredModel) -> Rate:
    """`rate`, computed a second time through `evaluate`: the counts behind a release agree or nothing is said."""
    second = corpus_wer([spanish(each.sentence) for each in references], [spanish(text) for text in model.texts])
    if rate.value is None or second is None:
        return rate
    if abs(second - rate.value) > 1e-9:
        raise EvaluationError(
            f"the WER of {model.name} is {rate.value} by its counts and {second} by the evaluate metric; check "
            "the installed jiwer against constraints.txt"
        )
    return rate


def _changes(
    evaluated: Sequence[Evaluated], words: Resample, out_of_domain: Resample | None
) -> tuple[Change, ...]:
    candidate = next((at for at, each in enumerate(evaluated) if each.role == "candidate"), None)
    if candidate is None:
        return ()
    return tuple(
        Change(
            against=each.name,
            role=each.role,
            relative_improvement=paired_relative_improvement(words, at, candidate),
            points=paired_point_change(words, at, candidate),
            out_of_domain_points=paired_point_change(out_of_domain, at, candidate) if out_of_domain else None,
        )
        for at, each in enumerate(evaluated)
        if at != candidate
    )


def _scored_set(references: Sequence[Reference], words: int) -> ScoredSet:
    return ScoredSet(
        digest=digest_of(sorted([each.segment_id, each.sentence] for each in references)),
        utterances=len(references),
        sessions=len({each.session_id for each in references}),
        words=words,
        duration_s=round(sum(each.duration_s for each in references), 3),
    )


def _real_time_factors(hypotheses: Sequence[Hypothesis]) -> tuple[float | None, float | None]:
    factors = [each.decode_s / each.duration_s for each in hypotheses if not each.failure and each.duration_s > 0]
    if not factors:
        return None, None
    return float(np.quantile(factors, 0.5)), float(np.quantile(factors, 0.95))


def _by_audio(hypotheses: Sequence[Hypothesis]) -> dict[str, Hypothesis]:
    return {each.audio_sha256: each for each in hypotheses}
