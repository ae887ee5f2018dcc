"""The released checkpoint loads in Transformers by path alone, with the weights and texts of the checkpoint."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from habla_ml.errors import ExportError
from habla_ml.export.transformers_folder import TRANSFORMERS
from habla_ml.export.zip_folder import zip_folder
from habla_ml_tests.testing.export_checkpoint import export_checkpoint


@pytest.fixture(scope="module")
def archive(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transformers")
    return zip_folder(export_checkpoint(TRANSFORMERS, tiny_checkpoint, folder).path, folder / "archive.zip")


def test_it_loads_offline_and_predicts_the_same_tokens(archive: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        assert sorted(opened.namelist()) == [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "preprocessor_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
        opened.extractall(tmp_path)
    model = WhisperForConditionalGeneration.from_pretrained(tmp_path, local_files_only=True)
    processor = WhisperProcessor.from_pretrained(tmp_path, local_files_only=True)
    source = WhisperForConditionalGeneration.from_pretrained(tiny_checkpoint, local_files_only=True)
    weights = model.state_dict()
    assert all(torch.equal(values, weights[name]) for name, values in source.state_dict().items())
    audio = 0.1 * np.sin(np.arange(32_000) / 20)
    features = processor(audio, sampling_rate=16_000, return_tensors="pt").input_features
    options = {"language": "es", "task": "transcribe", "max_new_tokens": 5}
    tokens = model.generate(features, **options)
    assert torch.equal(tokens, source.generate(features, **options))
    assert processor.batch_decode(tokens, skip_special_tokens=True)


def test_the_same_checkpoint_gives_the_same_archive(archive: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    again = zip_folder(export_checkpoint(TRANSFORMERS, tiny_checkpoint, tmp_path).path, tmp_path / "again.zip")
    assert again.read_bytes() == archive.read_bytes()


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(ExportError, match="without the adapter"):
        export_checkpoint(TRANSFORMERS, adapter, tmp_path / "out")
