"""Scores several models on the same speech, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.alignments import Alignments, is_aligned
from habla_ml.evaluation.changes import Found, Tables, changes_of
from habla_ml.evaluation.comparison import (
    Comparison,
    Failures,
    Method,
    ModelScore,
    Parity,
    Provenance,
    Rate,
    Resources,
    Role,
    ScoredSet,
)
from habla_ml.evaluation.confusions import count_confusions, tabulate_confusions
from habla_ml.evaluation.diarisation import DiarisationScore
from habla_ml.evaluation.error_records import Records
from habla_ml.evaluation.examples import choose_examples
from habla_ml.evaluation.hallucination import hallucination_score
from habla_ml.evaluation.invented import HallucinationBounds, non_speech_findings, speech_findings
from habla_ml.evaluation.non_speech import NonSpeechSet
from habla_ml.evaluation.normalise import orthographic, spanish
from habla_ml.evaluation.phenomena import SitedSentence, find_sites
from habla_ml.evaluation.punctuation import count_punctuation, punctuation_score
from habla_ml.evaluation.rates import ScoredModel, counts_of, draws_of, rate_of
from habla_ml.evaluation.scoring import VERSION, AlignedWord, align_words, corpus_wer, score_utterances
from habla_ml.evaluation.site_errors import count_site_errors, score_sites
from habla_ml.evaluation.slices import Reference, slices_of, units_of
from habla_ml.evaluation.speed import speed_of
from habla_ml.evaluation.statistics import RULE, Resample, interval_of
from habla_ml.evaluation.vocabulary import Vocabulary, count_terms, score_vocabulary
from habla_ml.evaluation.word_timing import WordTimingScore, time_words, word_timing_score
from habla_ml.lake import digest_of
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.options import EngineOptions

if TYPE_CHECKING:
    from habla_ml.settings import EvaluationSettings

_ORDER: tuple[Role, ...] = ("base", "previous", "contender", "candidate")


@dataclass(frozen=True)
class Evaluated:
    """A model and what it heard; order and surplus of the hypotheses do not matter."""

    name: str
    role: Role
    artefact_digest: str
    decoding: EngineOptions
    hypotheses: Sequence[Hypothesis]
    """Of the test set."""
    out_of_domain: Sequence[Hypothesis] = ()
    non_speech: Sequence[Hypothesis] = ()
    timed: Sequence[Hypothesis] = ()
    """Of the clips of the test set with an alignment, decoded with `word_times`; empty where there is none."""
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True)
class Beside:
    """What is measured besides the error rate on the test set; each is left out where it is None."""

    out_of_domain: Sequence[Utterance] | None = None
    """Speech of another kind, on which nothing may be forgotten."""
    non_speech: NonSpeechSet | None = None
    vocabulary: Vocabulary | None = None
    alignments: Alignments | None = None
    """Words with their times, set by hand."""
    parity: Parity | None = None
    diarisation: DiarisationScore | None = None


_NOTHING = Beside()


def compare_versions(
    utterances: Iterable[Utterance],
    evaluated: Sequence[Evaluated],
    settings: EvaluationSettings,
    provenance: Provenance,
    beside: Beside = _NOTHING,
) -> Comparison:
    """What `compare_with_records` finds, without the records."""
    return _compared(utterances, evaluated, settings, provenance, beside)[0]


def compare_with_records(
    utterances: Iterable[Utterance],
    evaluated: Sequence[Evaluated],
    settings: EvaluationSettings,
    provenance: Provenance,
    beside: Beside = _NOTHING,
) -> tuple[Comparison, Records]:
    """Score every model on the same utterances, with paired 95 % intervals; with every utterance and every error.

    The audio is not touched, so memory holds text only when `utterances` is a generator. An empty test set gives a
    comparison without figures, which the promotion rule refuses.

    Raises:
        EvaluationError: There is no model, two models share a name or a deciding role, or a model lacks the
            hypothesis of an utterance.
    """
    comparison, scored = _compared(utterances, evaluated, settings, provenance, beside)
    return comparison, Records.of(scored.references, scored.models, scored.alignments)


def _compared(
    utterances: Iterable[Utterance],
    evaluated: Sequence[Evaluated],
    settings: EvaluationSettings,
    provenance: Provenance,
    beside: Beside,
) -> tuple[Comparison, _Scoring]:
    _refuse_confusion(evaluated)
    evaluated = sorted(evaluated, key=lambda each: _ORDER.index(each.role))
    scored = _Scoring(evaluated, [Reference.of(each) for each in utterances], settings, beside)
    general = _score_out_of_domain(beside.out_of_domain, evaluated, settings)
    roles = {each.role: at for at, each in enumerate(evaluated)}
    base, candidate = roles.get("base"), roles.get("candidate")
    names = [each.name for each in evaluated]
    sliced = slices_of(scored.references, scored.models, scored.draws, settings)
    comparison = Comparison(
        test=_scored_set(scored.references, scored.tables.words.words),
        out_of_domain=general.scored_set if general else None,
        models=tuple(scored.model(at, general.rates[at] if general else None) for at in range(len(evaluated))),
        changes=changes_of(
            evaluated,
            scored.tables,
            general.resample if general else None,
            sliced,
            scored.found,
            settings.bootstrap_draws,
            settings.seed,
        ),
        slices=tuple(part for part, _ in sliced),
        phenomena=score_sites(
            names,
            [count_site_errors(scored.sites, each) for each in scored.alignments],
            [each.session_id for each in scored.references],
            scored.draws,
            base,
            candidate,
        ),
        vocabulary=None
        if beside.vocabulary is None
        else score_vocabulary(
            beside.vocabulary,
            names,
            [count_terms(beside.vocabulary, each) for each in scored.alignments],
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
        parity=beside.parity,
        diarisation=beside.diarisation,
        method=_method(settings, beside.vocabulary),
        provenance=provenance,
    )
    return comparison, scored


@dataclass
class _Scoring:
    """Every model's counts on the test set, each kind computed once."""

    evaluated: Sequence[Evaluated]
    references: list[Reference]
    settings: EvaluationSettings
    beside: Beside

    def __post_init__(self) -> None:
        self.models = [_score(each.name, each.role, self.references, each.hypotheses) for each in self.evaluated]
        self.draws = draws_of(units_of(self.references, self.settings.unit), self.settings)
        self.tables = Tables.of(self.models, self.draws)
        self.found = [self._found(*pair) for pair in zip(self.evaluated, self.models, strict=True)]

    def _found(self, each: Evaluated, model: ScoredModel) -> Found:
        settings, clips = self.settings, self.beside.non_speech
        bounds = HallucinationBounds(settings.short_below_s, settings.compression_ratio, settings.stock_phrases)
        return Found(
            sessions=[reference.session_id for reference in self.references],
            speech=speech_findings(self.references, model.texts, model.words, bounds),
            non_speech=None if clips is None else non_speech_findings(clips.clips, _by_audio(each.non_speech)),
            punctuation=count_punctuation([reference.sentence for reference in self.references], model.texts),
        )

    @cached_property
    def alignments(self) -> list[list[list[AlignedWord]]]:
        """Word by word: models, utterances, steps."""
        said = [spanish(each.sentence) for each in self.references]
        return [
            [align_words(left, spanish(text)) for left, text in zip(said, model.texts, strict=True)]
            for model in self.models
        ]

    @cached_property
    def sites(self) -> list[SitedSentence]:
        """Where the references hold what Andalusian speech changes."""
        return find_sites([each.sentence for each in self.references])

    def model(self, at: int, general: Rate | None) -> ModelScore:
        """The scores of one model."""
        each, model, tables = self.evaluated[at], self.models[at], self.tables
        by_audio = _by_audio(each.hypotheses)
        heard = [by_audio[reference.audio_sha256] for reference in self.references]
        found, clips = self.found[at], self.beside.non_speech
        drawn = (self.settings.bootstrap_draws, self.settings.seed)
        return ModelScore(
            name=each.name,
            role=each.role,
            artefact_digest=each.artefact_digest,
            decoding=each.decoding,
            wer=_checked(rate_of(model.words, tables.words, at), self.references, model),
            orthographic_wer=rate_of(model.orthographic, tables.orthographic, at),
            cer=rate_of(model.characters, tables.characters, at),
            substitution_rate=interval_of(tables.substitutions.rate(at)),
            deletion_rate=interval_of(tables.deletions.rate(at)),
            insertion_rate=interval_of(tables.insertions.rate(at)),
            out_of_domain_wer=general,
            failures=_failures(heard),
            speed=speed_of(heard),
            resources=each.resources,
            hallucination=None
            if clips is None or found.non_speech is None
            else hallucination_score(found.speech, found.non_speech, clips.digest, *drawn),
            punctuation=punctuation_score(found.sessions, found.punctuation, *drawn) if self.references else None,
            word_timing=self._timing(each, drawn),
        )

    def _timing(self, each: Evaluated, drawn: tuple[int, int]) -> WordTimingScore | None:
        if self.beside.alignments is None or not each.timed:
            return None
        by_audio, manual = _by_audio(each.timed), self.beside.alignments
        aligned = [one for one in self.references if is_aligned(manual, one.segment_id, one.audio_sha256)]
        timed = [by_audio[reference.audio_sha256] for reference in aligned]
        return word_timing_score(time_words(aligned, timed, manual), *drawn)


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
        ("role", [each.role for each in evaluated if each.role != "contender"]),
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
    utterances: Sequence[Utterance] | None, evaluated: Sequence[Evaluated], settings: EvaluationSettings
) -> _General | None:
    if not utterances:
        return None
    references = [Reference.of(each) for each in utterances]
    models = [_score(each.name, each.role, references, each.out_of_domain) for each in evaluated]
    # A voice is a session here, whatever unit the classroom's draws have.
    draws = draws_of(units_of(references, "session"), settings)
    (resample,) = draws.resample([counts_of([each.words for each in models])])
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


def _failures(heard: Sequence[Hypothesis]) -> Failures:
    kinds: list[str] = [each.failure or ("" if each.text.strip() else "empty") for each in heard]
    counted = {kind: kinds.count(kind) for kind in Failures.model_fields}
    return Failures(**{**counted, "stood_in": sum(each.heard_by is not None for each in heard)})


def _method(settings: EvaluationSettings, vocabulary: Vocabulary | None) -> Method:
    return Method(
        scorer=VERSION,
        interval_rule=RULE,
        bootstrap_draws=settings.bootstrap_draws,
        seed=settings.seed,
        unit=settings.unit,
        quiet_below_dbfs=settings.quiet_below_dbfs,
        smallest_slice_sessions=settings.smallest_slice_sessions,
        smallest_slice_words=settings.smallest_slice_words,
        vocabulary=None if vocabulary is None else vocabulary.digest,
    )


def _scored_set(references: Sequence[Reference], words: int) -> ScoredSet:
    return ScoredSet(
        digest=digest_of(sorted([each.segment_id, each.sentence] for each in references)),
        utterances=len(references),
        sessions=len({each.session_id for each in references}),
        words=words,
        duration_s=round(sum(each.duration_s for each in references), 3),
    )


def _by_audio(hypotheses: Sequence[Hypothesis]) -> Mapping[str, Hypothesis]:
    return {each.audio_sha256: each for each in hypotheses}
