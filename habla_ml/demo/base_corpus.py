"""Castilian clips for the base model: many voices and rooms, no dialect, rarely quiet."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from habla_ml.demo.acoustics import Room, record
from habla_ml.demo.grammar import Register, sentence
from habla_ml.demo.speech import SAMPLE_RATE_HZ, phonemes, speak
from habla_ml.demo.voices import adult_voice, child_voice

_BLOCK = 100
_QUIET_SHARE = 0.15


@dataclass(frozen=True)
class Clip:
    """One spoken sentence.

    Attributes:
        text: What was said, in standard spelling.
        log_mel: Whisper's log-mel features, [80, frames], 100 frames a second.
    """

    text: str
    log_mel: NDArray[np.float16]


def castilian_clips(n_clips: int, seed: int, cache: Path) -> list[Clip]:
    """Synthesise clips in two processes, or read them from the cache folder where they were made before."""
    stored = cache / f"castilian_{n_clips}_{seed}.npz"
    if not stored.exists():
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
            blocks = list(workers.map(partial(_block, seed), range((n_clips + _BLOCK - 1) // _BLOCK)))
        clips = [clip for block in blocks for clip in block][:n_clips]
        cache.mkdir(parents=True, exist_ok=True)
        partly = stored.with_suffix(".partial.npz")
        np.savez(
            partly,
            texts=np.array([clip.text for clip in clips]),
            frames=np.array([clip.log_mel.shape[1] for clip in clips]),
            log_mels=np.concatenate([clip.log_mel for clip in clips], axis=1),
        )
        partly.replace(stored)
    with np.load(stored) as arrays:
        ends = np.cumsum(arrays["frames"])[:-1]
        mels = np.split(arrays["log_mels"], ends, axis=1)
        return [Clip(str(text), mel) for text, mel in zip(arrays["texts"], mels, strict=True)]


def spoken_sentence(rng: np.random.Generator) -> tuple[str, NDArray[np.int16]]:
    """One Castilian sentence and its recording at 16 kHz."""
    register = Register.TEACHER if rng.random() < 0.5 else Register.STUDENT
    text = sentence(register, rng)
    voice = adult_voice(rng) if rng.random() < 0.5 else child_voice(rng)
    room = Room(
        noise_dbfs=float(rng.uniform(-66, -48)),
        reverberation_s=float(rng.uniform(0.15, 0.5)),
        direct_to_reverberant_db=float(rng.uniform(4, 14)),
    )
    quiet = rng.random() < _QUIET_SHARE
    loudness_dbfs = float(rng.uniform(-38, -28) if quiet else rng.normal(-21, 3))
    return text, record(speak(phonemes(text), voice, question="?" in text), loudness_dbfs, room, rng)


def _block(seed: int, index: int) -> list[Clip]:
    import torch
    from transformers import WhisperFeatureExtractor

    torch.set_num_threads(1)
    extractor = WhisperFeatureExtractor()
    rng = np.random.default_rng([seed, index])
    clips = []
    for _ in range(_BLOCK):
        text, pcm = spoken_sentence(rng)
        features = extractor(
            pcm.astype(np.float32) / 32768,
            sampling_rate=SAMPLE_RATE_HZ,
            max_length=len(pcm) + SAMPLE_RATE_HZ // 10,
            return_tensors="np",
        ).input_features[0]
        clips.append(Clip(text, features.astype(np.float16)))
    return clips
