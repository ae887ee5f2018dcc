"""The networks in WhisperKit's layout compute what Transformers computes, before the conversion to Core ML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from habla_ml.export.programs.modules import (
    Attention,
    AudioEncoder,
    MelSpectrogram,
    SplitAttention,
    StatefulTextDecoder,
    TextDecoder,
)


@pytest.fixture(scope="module")
def reference(tiny_checkpoint: Path) -> WhisperForConditionalGeneration:
    return WhisperForConditionalGeneration.from_pretrained(tiny_checkpoint, attn_implementation="eager").eval()


@pytest.mark.long
@pytest.mark.parametrize("loudness", [0.3, 1e-3, 1e-6, 0.0])
def test_mel_features_equal_the_extractors_down_to_silence(tiny_checkpoint: Path, loudness: float) -> None:
    extractor = WhisperFeatureExtractor.from_pretrained(tiny_checkpoint)
    audio = (loudness * np.random.default_rng(4).standard_normal(480_000)).astype(np.float32)
    expected = extractor(audio, sampling_rate=16_000, return_tensors="np").input_features
    with torch.inference_mode():
        features = MelSpectrogram(torch.from_numpy(extractor.mel_filters))(torch.from_numpy(audio))
    assert features.shape == (1, 80, 1, 3000)
    assert features[:, :, 0].numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("attention", [Attention, SplitAttention])
def test_encoder_states_equal_those_of_transformers(
    reference: WhisperForConditionalGeneration, attention: type[Attention]
) -> None:
    features = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        states = AudioEncoder(reference, attention).eval()(features[:, :, None, :])
        expected = reference.model.encoder(features).last_hidden_state
    assert states.shape == (1, 64, 1, 1500)
    torch.testing.assert_close(states[:, :, 0].transpose(1, 2), expected, atol=1e-4, rtol=1e-4)


def test_token_by_token_through_the_caches_equals_all_tokens_at_once(
    reference: WhisperForConditionalGeneration,
) -> None:
    tokens = [258, 262, 360, 363, 40, 41, 42]
    states = torch.randn(1, 1500, 64, generator=torch.Generator().manual_seed(2))
    decoder = TextDecoder(reference, [[0, 1], [1, 0]]).eval()
    stateful = StatefulTextDecoder(TextDecoder(reference, [[0, 1], [1, 0]])).eval()
    keys, values = torch.zeros(1, 128, 1, 448), torch.zeros(1, 128, 1, 448)
    padding = torch.full((1, 448), -10_000.0)
    with torch.inference_mode():
        out = reference.model.decoder(torch.tensor([tokens]), encoder_hidden_states=states, output_attentions=True)
        expected = reference.proj_out(out.last_hidden_state)[0]
        expected_heads = (out.cross_attentions[0][0, 1] + out.cross_attentions[1][0, 0]) / 2
        for position, token in enumerate(tokens):
            padding[0, position] = 0.0
            update = torch.zeros(1, 448)
            update[0, position] = 1.0
            at, audio = (torch.tensor([token]), torch.tensor([position])), states.transpose(1, 2)[:, :, None, :]
            logits, key, value, heads = decoder(*at, keys, values, update, audio, padding)
            torch.testing.assert_close(stateful(*at, update, audio, padding), (logits, heads))
            keys[..., position], values[..., position] = key[..., 0], value[..., 0]
            torch.testing.assert_close(logits[0, 0], expected[position], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(heads[0], expected_heads[position], atol=1e-6, rtol=1e-4)
