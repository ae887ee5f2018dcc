"""A lake with a small snapshot, and a Whisper model that trains in a second."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from habla_ml.corpus.snapshot import Snapshot
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.training.recipe import Recipe
from habla_ml_tests.testing.base_model import BASE_MODEL
from habla_ml_tests.testing.training_snapshot import make_clips, publish_snapshot


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


@pytest.fixture
def snapshot(lake: Lake) -> Snapshot:
    return publish_snapshot(lake, make_clips())


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a random Whisper with one encoder and one decoder layer and the demo's tokenizer."""
    import shutil

    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    folder = tmp_path_factory.mktemp("tiny") / "base"
    config = json.loads((BASE_MODEL / "config.json").read_text())
    small = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    torch.manual_seed(1)
    config |= {**small, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "dropout": 0.1}
    WhisperForConditionalGeneration(WhisperConfig(**config)).to(torch.float16).save_pretrained(folder)
    for name in ("generation_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(BASE_MODEL / name, folder / name)
    return folder


@pytest.fixture
def recipe(tiny_base: Path) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "tiny",
            "base_model": str(tiny_base),
            "learning_rate": 5e-3,
            "warmup_steps": 2,
            "max_steps": 12,
            "batch_s": 9.0,
            "windows": {"full_share": 0.5},
            "evaluate_every_steps": 4,
            "validation_clips": 2,
            "log_every_steps": 2,
            "threads": 1,
        }
    )
