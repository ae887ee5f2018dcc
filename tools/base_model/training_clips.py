"""Training clips of the base model: Castilian speech of many voices and rooms, and clips without speech."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from habla_ml.audio.background_sounds import BACKGROUND_SOUNDS, scale_to_loudness, synthesise_background
from habla_ml.audio.decode import dequantise, quantise
from habla_ml.demo.acoustics import RoomAcoustics, reverberate, simulate_recording
from habla_ml.demo.grammar import SpeechRegister, generate_sentence
from habla_ml.demo.speech_synthesis import SAMPLE_RATE_HZ, synthesize_speech, text_to_phonemes
from habla_ml.demo.synthesis_voices import draw_adult_voice, draw_child_voice
from habla_ml.training.speech_bounds import find_speech_bounds
from habla_ml.training.targets import STEPS_PER_S

if TYPE_CHECKING:
    from transformers import WhisperFeatureExtractor

_BLOCK = 100
_QUIET_SHARE = 0.15
_NOT_DETECTED = (-1, -1)
_NON_SPEECH_SEED = 3
"""Second half of the seed of clips without speech."""


@dataclass(frozen=True)
class BaseTrainingClip:
    """One spoken sentence, or a background sound.

    Attributes:
        text: Transcript in standard spelling; empty without speech.
        log_mel: Whisper's log-mel features, [80, frames], 100 frames per second.
        speech: Start and end of the speech in steps of 0.02 s; None where none was detected.
    """

    text: str
    log_mel: NDArray[np.float16]
    speech: tuple[int, int] | None = None


def load_castilian_clips(n_clips: int, seed: int, cache: Path) -> list[BaseTrainingClip]:
    """Read clips from the cache folder, or synthesise them in two processes."""
    stored = cache / f"castilian_timed_{n_clips}_{seed}.npz"
    if not stored.exists():
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
            blocks = list(workers.map(partial(_synthesize_block, seed), range((n_clips + _BLOCK - 1) // _BLOCK)))
        clips = [clip for block in blocks for clip in block][:n_clips]
        cache.mkdir(parents=True, exist_ok=True)
        partly = stored.with_suffix(".partial.npz")
        np.savez(
            partly,
            texts=np.array([clip.text for clip in clips]),
            frames=np.array([clip.log_mel.shape[1] for clip in clips]),
            speech=np.array([clip.speech or _NOT_DETECTED for clip in clips]),
            log_mels=np.concatenate([clip.log_mel for clip in clips], axis=1),
        )
        partly.replace(stored)
    with np.load(stored) as arrays:
        ends = np.cumsum(arrays["frames"])[:-1]
        mels = np.split(arrays["log_mels"], ends, axis=1)
        return [
            BaseTrainingClip(str(text), mel, None if start < 0 else (start, end))
            for text, mel, (start, end) in zip(arrays["texts"], mels, arrays["speech"].tolist(), strict=True)
        ]


def synthesize_castilian_sentence(rng: np.random.Generator) -> tuple[str, NDArray[np.int16]]:
    """Return one Castilian sentence and its recording at 16 kHz."""
    register = SpeechRegister.TEACHER if rng.random() < 0.5 else SpeechRegister.STUDENT
    text = generate_sentence(register, rng)
    voice = draw_adult_voice(rng) if rng.random() < 0.5 else draw_child_voice(rng)
    room = RoomAcoustics(
        noise_dbfs=float(rng.uniform(-66, -48)),
        reverberation_s=float(rng.uniform(0.15, 0.5)),
        direct_to_reverberant_db=float(rng.uniform(4, 14)),
    )
    quiet = rng.random() < _QUIET_SHARE
    loudness_dbfs = float(rng.uniform(-38, -28) if quiet else rng.normal(-21, 3))
    return text, simulate_recording(
        synthesize_speech(text_to_phonemes(text), voice, question="?" in text), loudness_dbfs, room, rng
    )


def make_non_speech_clips(n_clips: int, seed: int) -> list[BaseTrainingClip]:
    """Synthesise clips without speech from `BACKGROUND_SOUNDS`; their text is empty."""
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor()
    rng = np.random.default_rng([seed, _NON_SPEECH_SEED])
    return [BaseTrainingClip("", _compute_log_mel(make_non_speech_sound(rng), extractor)) for _ in range(n_clips)]


def make_non_speech_sound(rng: np.random.Generator) -> NDArray[np.int16]:
    """Synthesise 0.3 to 10 s without speech at -65 to -22 dBFS; half of them with reverberation and a second sound.

    The test clips (`habla_ml.evaluation.metrics.non_speech`) are other kinds of sounds, without reverberation, at sixty
    fixed lengths and levels.
    """
    kind, below = rng.choice(np.array(BACKGROUND_SOUNDS), size=2)
    duration_s = float(np.exp(rng.uniform(np.log(0.3), np.log(10.0))))
    loudness_dbfs = float(rng.uniform(-65, -22))
    pcm = synthesise_background(kind, duration_s, loudness_dbfs, rng)
    if kind == "silence" or rng.random() < 0.5:
        return pcm
    room = RoomAcoustics(0.0, float(rng.uniform(0.15, 0.5)), float(rng.uniform(4, 14)))
    second = synthesise_background(below, duration_s, loudness_dbfs - float(rng.uniform(3, 20)), rng)
    mixed = reverberate(dequantise(pcm), room, rng) + dequantise(second)
    return quantise(scale_to_loudness(mixed, loudness_dbfs))


def _synthesize_block(seed: int, index: int) -> list[BaseTrainingClip]:
    import torch
    from transformers import WhisperFeatureExtractor

    torch.set_num_threads(1)
    extractor = WhisperFeatureExtractor()
    rng = np.random.default_rng([seed, index])
    clips = []
    for _ in range(_BLOCK):
        text, pcm = synthesize_castilian_sentence(rng)
        clips.append(BaseTrainingClip(text, _compute_log_mel(pcm, extractor), _find_speech(pcm)))
    return clips


def _find_speech(pcm: NDArray[np.int16]) -> tuple[int, int] | None:
    found = find_speech_bounds(dequantise(pcm))
    return None if found is None else (round(found.start_s * STEPS_PER_S), round(found.end_s * STEPS_PER_S))


def _compute_log_mel(pcm: NDArray[np.int16], extractor: "WhisperFeatureExtractor") -> NDArray[np.float16]:
    """Return features of a sound with 0.1 s of silence appended, [80, frames]."""
    features = extractor(
        dequantise(pcm),
        sampling_rate=SAMPLE_RATE_HZ,
        max_length=len(pcm) + SAMPLE_RATE_HZ // 10,
        return_tensors="np",
    ).input_features[0]
    return np.asarray(features, dtype=np.float16)
