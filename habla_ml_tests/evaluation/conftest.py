"""A tiny Whisper with decided opinions, converted as the real one is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.lake import DirectoryStore, Lake
from habla_ml_tests.testing.base_model import BASE_MODEL


@pytest.fixture(scope="session")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CTranslate2 folder of a random Whisper with the real tokenizer, window and prompt.

    The output embedding is scaled up so that each step has a clear winner: texts differ between clips and do not
    hang on the last bit of a float.
    """
    import torch
    from ctranslate2.converters import TransformersConverter
    from transformers import (
        WhisperConfig,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(3)
    config = WhisperConfig.from_pretrained(BASE_MODEL)
    config.d_model = 32
    config.encoder_layers = config.decoder_layers = 1
    config.encoder_attention_heads = config.decoder_attention_heads = 2
    config.encoder_ffn_dim = config.decoder_ffn_dim = 64
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "embed_tokens" in name or "encoder_attn" in name:
                weights *= 12
        # Time stamps make faster-whisper's own loop decode the rest of the window again; a trained model has none.
        tokenizer = WhisperTokenizer.from_pretrained(BASE_MODEL)
        model.model.decoder.embed_tokens.weight[tokenizer.convert_tokens_to_ids("<|notimestamps|>") :] = 0
    model.save_pretrained(folder)
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (folder / name).write_bytes((BASE_MODEL / name).read_bytes())
    out = tmp_path_factory.mktemp("ct2") / "model"
    converter = TransformersConverter(str(folder), copy_files=["tokenizer.json", "preprocessor_config.json"])
    converter.convert(str(out), quantization="int8")
    return out


@pytest.fixture(scope="session")
def clips() -> list[Utterance]:
    """Nine short sounds of different pitch, length and loudness."""
    made = []
    for at in range(9):
        rng = np.random.default_rng(at)
        duration_s = 0.5 + 0.4 * at
        time_s = np.arange(int(16_000 * duration_s)) / 16_000
        audio = np.sin(2 * np.pi * (150 + 130 * at) * time_s) * 0.3 / (1 + at % 3) + rng.normal(0, 0.02, len(time_s))
        audio = audio.astype(np.float32)
        made.append(
            Utterance(
                segment_id=f"clip-{at}",
                session_id=f"session-{at % 3}",
                speaker="Ana",
                sentence="una frase",
                duration_s=duration_s,
                loudness_dbfs=-20.0,
                audio_sha256=hashlib.sha256(audio.tobytes()).hexdigest(),
                audio=audio,
            )
        )
    return made


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")
