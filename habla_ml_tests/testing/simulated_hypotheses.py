"""Test sets and hypotheses with a planted quality, made without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.compare import compare_decoded_models
from habla_ml.evaluation.comparison.records import Comparison, Provenance
from habla_ml.evaluation.metrics.inputs import DecodedModel, ModelRole, OptionalMeasurements
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.options import DecodingOptions

SENTENCE = "los niños traen la libreta azul y escriben despacio una frase sobre el mar que vieron ayer"
TEST_PROVENANCE = Provenance(
    snapshot_id="5" * 64,
    conventions="orthographic-v1",
    conventions_digest="c" * 64,
    hardware="2 CPU cores",
)
TEST_SETTINGS = EvaluationSettings(bootstrap_draws=1000)


def make_utterance(segment: str, session: str, sentence: str, **fields: Any) -> Utterance:
    """A segment whose audio is a second of faint noise of its own."""
    audio = np.random.default_rng(len(segment)).normal(0, 0.01, 16_000).astype(np.float32)
    values = {
        "segment_id": segment,
        "session_id": session,
        "speaker": "Ana",
        "sentence": sentence,
        "duration_s": 1.0,
        "loudness_dbfs": -20.0,
        "audio_sha256": hashlib.sha256(segment.encode()).hexdigest(),
        "audio": audio,
    }
    return Utterance(**{**values, **fields})


def make_utterances(sessions: int, per_session: int, seed: int = 0, words: int = 8) -> list[Utterance]:
    """Sentences of `words` words; every third is quiet, three speakers take turns."""
    rng = np.random.default_rng(seed)
    made = []
    for session in range(sessions):
        for at in range(per_session):
            made.append(
                make_utterance(
                    f"seg-{seed}-{session:03d}-{at:03d}",
                    f"session-{session:03d}",
                    " ".join(rng.choice(SENTENCE.split(), words)).capitalize() + ".",
                    speaker=("Ana", "Luis", "SPEAKER_00")[at % 3],
                    duration_s=(1.2, 3.0, 5.5, 9.0)[at % 4],
                    loudness_dbfs=-42.0 if at % 3 == 0 else -22.0,
                )
            )
    return made


def simulate_hypotheses(utterances: Sequence[Utterance], error_rate: float, seed: int) -> list[Hypothesis]:
    """Each word is lost, doubled or replaced with `error_rate`; quiet speech twice as often."""
    rng = np.random.default_rng(seed)
    found = []
    for each in utterances:
        rate = min(1.0, error_rate * (1.6 if each.loudness_dbfs < -35 else 0.7))
        words: list[str] = []
        for word in each.sentence.split():
            draw = rng.random()
            if draw >= rate:
                words.append(word)
            elif draw < rate * 0.6:
                words.append(word.replace("s", "h") + "x")
            elif draw < rate * 0.8:
                words += [word, "eh"]
        found.append(
            Hypothesis(each.audio_sha256, " ".join(words), 0.05, each.duration_s, avg_logprob=-0.2, no_speech_prob=0.01)
        )
    return found


def make_comparison(
    utterances: Sequence[Utterance],
    rates: dict[ModelRole, float],
    general: dict[ModelRole, float] | None = None,
    settings: EvaluationSettings = TEST_SETTINGS,
) -> Comparison:
    """A comparison of models with planted error rates on `utterances` and on general speech."""
    names: dict[ModelRole, str] = {"base": "base", "previous": "v1", "candidate": "v2"}
    other = make_utterances(10, 10, seed=99) if general is not None else []
    evaluated = [
        DecodedModel(
            names[role],
            role,
            str(at) * 64,
            DecodingOptions(),
            simulate_hypotheses(utterances, rate, at),
            simulate_hypotheses(other, (general or {}).get(role, 0.0), 50 + at),
        )
        for at, (role, rate) in enumerate(rates.items())
    ]
    return compare_decoded_models(
        utterances, evaluated, settings, TEST_PROVENANCE, OptionalMeasurements(out_of_domain=other or None)
    )
