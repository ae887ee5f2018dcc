"""A comparison in which everything is measured, made without a model: what a report can come to show."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from habla_ml.corpus.general_speech import SpeechSourceSummary
from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.compare import compare_decoded_models
from habla_ml.evaluation.comparison.records import Comparison, Parity
from habla_ml.evaluation.metrics.domain_vocabulary import DomainVocabulary
from habla_ml.evaluation.metrics.inputs import DecodedModel, ModelRole, OptionalMeasurements
from habla_ml.evaluation.metrics.non_speech import build_non_speech_set
from habla_ml.evaluation.metrics.speed_run import MachineDescription, ModelTiming, SpeedRun
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.engine import Hypothesis, RecognisedWord, Usage
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.simulated_hypotheses import (
    TEST_PROVENANCE,
    TEST_SETTINGS,
    make_utterance,
    make_utterances,
)

SENTENCES = (
    "Abrid el cuaderno por la página doce, por favor.",
    "¿Quién ha traído los deberes de matemáticas?",
    "Los niños de la última fila no se oyen bien.",
    "Hemos estudiado las fracciones toda la semana.",
    "Gracias, Lucía, ya puedes sentarte.",
    "El agua de la lluvia llega al valle y forma un arroyo.",
    "¿Has acabado el ejercicio o te ayudo?",
    "Mañana vamos a visitar el museo de Granada.",
    "Escribid despacio las palabras de la pizarra.",
    "La célula tiene un núcleo y una membrana.",
    "Me he dejado el estuche en casa.",
    "Todos los planetas giran alrededor del sol.",
    "Hay que sumar los lados para hallar el perímetro.",
    "Ayer llovió mucho y no salimos al patio.",
    "Los verbos terminados en ar son de la primera conjugación.",
    "Silencio, que ahora va a leer Manuel.",
)
TERMS = (
    "fracciones",
    "perímetro",
    "célula",
    "núcleo",
    "membrana",
    "conjugación",
    "planetas",
    "pizarra",
    "estuche",
)
_OTHER_VOWELS = str.maketrans("aeou", "oiau")
_SPEAKER_ROLES = (("Carmen", "teacher", True), ("Lucía", "student", True), ("Manuel", "student", False))
OUT_OF_DOMAIN_SOURCE = SpeechSourceSummary(
    "cv-es", "common_voice", "CC0-1.0", "https://example.org/es", "at most 2 h", 100, 0.2, {}, "d" * 64
)


def make_class_sessions(sessions: int, per_session: int) -> list[Utterance]:
    """Sentences of a class, by a teacher and two students, one of them quiet and new to the model."""
    made = []
    for session in range(sessions):
        for at in range(per_session):
            speaker, role, is_seen = _SPEAKER_ROLES[at % 3]
            noise = np.random.default_rng([session, at]).normal(0, 0.02 if at % 3 < 2 else 0.004, 16_000)
            made.append(
                make_utterance(
                    f"lesson-{session:03d}-{at:03d}",
                    f"2026-03-{session % 28 + 1:02d}-{'ab'[session // 28 % 2]}",
                    SENTENCES[(5 * session + at) % len(SENTENCES)],
                    speaker=speaker,
                    role=role,
                    is_seen_speaker=is_seen,
                    source="habla",
                    duration_s=(1.4, 3.1, 5.2, 8.6)[at % 4],
                    loudness_dbfs=-41.0 if at % 3 == 2 else -22.0,
                    audio=noise.astype(np.float32),
                )
            )
    return made


def make_dialect_hypotheses(utterances: Sequence[Utterance], error_rate: float, seed: int) -> list[Hypothesis]:
    """Words said as in Andalusia are written down so, others are lost or doubled; quiet speech suffers most."""
    rng = np.random.default_rng(seed)
    found = []
    for each in utterances:
        rate = min(0.95, error_rate * (1.8 if each.loudness_dbfs < -35 else 0.7))
        words: list[str] = []
        for word in each.sentence.split():
            draw = rng.random()
            dialect = word.replace("c", "s").rstrip("s.,?") if word[-1] in "s.,?" else word.replace("ll", "y")
            if draw >= rate:
                words.append(word if rng.random() > rate / 2 else word.rstrip(",."))
            elif draw < 0.7 * rate:
                words.append(dialect if dialect != word else word.translate(_OTHER_VOWELS))
            elif draw < 0.9 * rate:
                words += [word, "eh"]
        text = "Gracias por ver el vídeo." if rng.random() < rate / 15 else " ".join(words)
        wrong = sum(word not in each.sentence.split() for word in words) + abs(len(words) - len(each.sentence.split()))
        found.append(
            Hypothesis(
                each.audio_sha256,
                text,
                None,
                each.duration_s,
                avg_logprob=-0.05 - (0.4 + 0.1 * (len(found) % 5)) * wrong / len(each.sentence.split()),
                words=_make_word_times(text, rng),
            )
        )
    return found


def make_speed_run(models: Sequence[str], slower: float = 1.0, seed: int = 5, rounds: int = 3) -> SpeedRun:
    """Models timed on a machine whose rounds differ by 10 %; each model takes `slower` times as long as the one before."""
    rng = np.random.default_rng(seed)
    clips = rng.lognormal(-2.2, 0.4, 50)
    load = rng.lognormal(0, 0.1, rounds)
    timings = []
    for at, model in enumerate(models):
        own = rng.lognormal(0, 0.05, rounds)
        factors = clips * (slower**at * load * own)[:, None] * rng.lognormal(0, 0.1, (rounds, 50))
        timings.append(
            ModelTiming(
                model=model,
                factors=tuple(map(tuple, factors.tolist())),
                throughput=tuple((2 / factors.mean(axis=1)).tolist()),
                peak_memory_bytes=(700 + 20 * at) * 2**20,
            )
        )
    machine = MachineDescription(
        cpu="Example CPU", cores=2, memory_bytes=2**33, gpu=None, system="Linux", libraries={"ctranslate2": "4.8.5"}
    )
    return SpeedRun(
        measured_at="2026-03-01 10:00",
        machine=machine,
        load=0.1,
        clips=50,
        rounds=rounds,
        audio_s=150.0,
        models=tuple(timings),
    )


@cache
def make_full_comparison() -> tuple[Comparison, list[Utterance]]:
    """Base, previous and candidate on 144 clips with every figure that there is, and the test set."""
    utterances = make_class_sessions(12, 12)
    quiet, general = build_non_speech_set(EvaluationSettings()), make_utterances(10, 10, seed=99)
    planted: dict[ModelRole, float] = {"base": 0.32, "previous": 0.2, "candidate": 0.12}
    names: dict[ModelRole, str] = {"base": "base", "previous": "v1", "candidate": "v2"}
    options = DecodingOptions()
    evaluated = []
    for at, (role, rate) in enumerate(planted.items()):
        rng = np.random.default_rng(at)
        silence = [
            Hypothesis(clip.audio_sha256, "Subtítulos realizados" if rng.random() < rate else "", 0.1, clip.duration_s)
            for clip in quiet.clips
        ]
        hypotheses = make_dialect_hypotheses(utterances, rate, at)
        evaluated.append(
            DecodedModel(
                names[role],
                role,
                str(at) * 64,
                options,
                hypotheses,
                make_dialect_hypotheses(general, 0.1, 70 + at),
                silence,
                hypotheses,
                Usage(audio_s=3600.0, cost_usd=0.04),
            )
        )
    manual = np.random.default_rng(9)
    comparison = compare_decoded_models(
        utterances,
        evaluated,
        TEST_SETTINGS,
        TEST_PROVENANCE.model_copy(update={"out_of_domain": (OUT_OF_DOMAIN_SOURCE,)}),
        OptionalMeasurements(
            out_of_domain=general,
            non_speech=quiet,
            vocabulary=DomainVocabulary.of((term,) for term in TERMS),
            speed=make_speed_run(list(names.values())),
            alignments={each.segment_id: _make_word_times(each.sentence, manual) for each in utterances[:60]},
        ),
    )
    parity = Parity(
        artefact="2" * 64, checkpoint="c" * 64, clips=60, same_text_share=0.95, points=Interval(-0.4, 0.1, 0.6)
    )
    return comparison.model_copy(update={"parity": parity}), utterances


def with_hostile_texts(comparison: Comparison, text: str) -> Comparison:
    """The same with `text` wherever a model's output, a person's word or a name from outside is shown."""
    models = []
    for model in comparison.models:
        found = model.hallucination
        if found is not None:
            evidence = tuple(
                each.model_copy(update={"text": text, "detail": text, "clip_id": text}) for each in found.evidence
            )
            model = model.model_copy(update={"hallucination": found.model_copy(update={"evidence": evidence})})
        models.append(model)
    vocabulary = comparison.vocabulary
    if vocabulary is not None:
        spoiled = tuple(
            each.model_copy(update={"worst": tuple(term.model_copy(update={"term": text}) for term in each.worst)})
            for each in vocabulary.models
        )
        vocabulary = vocabulary.model_copy(update={"models": spoiled})
    confusions = tuple(
        each.model_copy(
            update={
                kind: tuple(
                    pair.model_copy(update={"reference_token": text, "hypothesis_token": text, "words": (text, text)})
                    for pair in getattr(each, kind)
                )
                for kind in ("words", "phonemes", "reduced")
            }
        )
        for each in comparison.confusions
    )
    provenance = comparison.provenance.model_copy(update={"hardware": text, "non_speech_problems": (text,)})
    slices = tuple(each.model_copy(update={"name": f"{each.name} {text}"}) for each in comparison.slices)
    return comparison.model_copy(
        update={
            "models": tuple(models),
            "vocabulary": vocabulary,
            "confusions": confusions,
            "provenance": provenance,
            "slices": slices,
        }
    )


def with_many_sessions(comparison: Comparison, times: int) -> Comparison:
    """The same with every slice of a session repeated under other names, as a year of lessons has them."""
    more = [
        each.model_copy(update={"name": f"{each.name} {again}"})
        for each in comparison.slices
        if each.dimension == "session"
        for again in range(times)
    ]
    return comparison.model_copy(update={"slices": (*comparison.slices, *more)})


def _make_word_times(text: str, rng: Any) -> tuple[RecognisedWord, ...]:
    return tuple(
        RecognisedWord(
            word, max(0.0, 0.3 * at + float(rng.normal(0, 0.03))), 0.3 * at + 0.28 + float(rng.normal(0, 0.03))
        )
        for at, word in enumerate(text.split())
    )
