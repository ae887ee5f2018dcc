import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from habla_ml.training.log_mel import LogMel
from habla_ml.training.windows import FRAME_SAMPLES, FULL_FRAMES


def make_batch(n_frames: int) -> torch.Tensor:
    """Return a loud clip, a quiet one, one of full scale and digital silence, each followed by zeros."""
    rng = np.random.default_rng(3)
    batch = np.zeros((4, n_frames * FRAME_SAMPLES), np.float32)
    for row, (level, seconds) in zip(batch, ((0.1, 2), (1e-4, 3), (1.0, 1), (0.0, 1)), strict=True):
        row[: seconds * 16_000] = np.clip(rng.normal(0, level, seconds * 16_000), -1, 1)
    return torch.from_numpy(batch)


@pytest.mark.parametrize("n_frames", [384, FULL_FRAMES])
@pytest.mark.parametrize("n_mels", [80, 128])
def test_features_equal_those_of_the_extractor(n_frames: int, n_mels: int) -> None:
    extractor, batch = WhisperFeatureExtractor(feature_size=n_mels), make_batch(n_frames)
    ours = LogMel(extractor, torch.device("cpu"))(batch)
    theirs = extractor(
        list(batch.numpy()), sampling_rate=16_000, max_length=batch.shape[1], return_tensors="pt"
    ).input_features
    assert ours.shape == theirs.shape == (4, n_mels, n_frames)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_features_are_float32_also_in_training_with_bfloat16() -> None:
    log_mel, batch = LogMel(WhisperFeatureExtractor(), torch.device("cpu")), make_batch(384)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(log_mel(batch), log_mel(batch).float(), rtol=0, atol=0)
        inside = log_mel(batch)
    torch.testing.assert_close(inside, log_mel(batch), rtol=0, atol=0)


def test_a_short_window_has_the_features_of_the_full_one_in_the_range_of_the_clip() -> None:
    log_mel = LogMel(WhisperFeatureExtractor(), torch.device("cpu"))
    short, full = log_mel(make_batch(384)), log_mel(make_batch(FULL_FRAMES))
    torch.testing.assert_close(short[:, :, :380], full[:, :, :380], rtol=0, atol=1e-6)
