"""The tiny Whisper of the evaluation tests, and the demo's base model with sentences that it recognises."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from habla_ml.audio import quantise
from habla_ml.corpus.snapshot import Utterance
from habla_ml.export.ctranslate2 import CTRANSLATE2
from habla_ml_tests.evaluation.conftest import artefact, clips, lake
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.export_checkpoint import export_checkpoint
from habla_ml_tests.testing.simulated_hypotheses import make_utterance

__all__ = ["artefact", "clips", "lake"]


@pytest.fixture(scope="session")
def base_artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's base model in Habla's format."""
    return export_checkpoint(CTRANSLATE2, BASE_MODEL, tmp_path_factory.mktemp("base")).path


@pytest.fixture
def damaged_artefact(artefact: Path, tmp_path: Path) -> Path:
    """A folder in Habla's format without weights."""
    folder = shutil.copytree(artefact, tmp_path / "damaged")
    (folder / "model.bin").write_bytes(b"not a model")
    return folder


@pytest.fixture(scope="session")
def sentences() -> list[Utterance]:
    """Twelve sentences of Castilian."""
    from tools.base_model.training_clips import synthesize_castilian_sentence

    rng = np.random.default_rng(7)
    spoken = []
    for at in range(12):
        text, pcm = synthesize_castilian_sentence(rng)
        audio = (pcm / 32768).astype(np.float32)
        sha256 = hashlib.sha256(audio.tobytes()).hexdigest()
        spoken.append(
            make_utterance(str(at), "s", text, duration_s=len(audio) / 16_000, audio_sha256=sha256, audio=audio)
        )
    return spoken


@pytest.fixture(scope="session")
def lesson(sentences: list[Utterance]) -> NDArray[np.int16]:
    """The twelve sentences as one recording of more than 30 s, with pauses of 1.1 s in faint noise between them."""
    rng = np.random.default_rng(5)
    pause = [rng.normal(0, 15, 17_600).astype(np.int16) for _ in sentences]
    return np.concatenate(
        [part for pair in zip(map(quantise, (s.audio for s in sentences)), pause, strict=True) for part in pair]
    )
