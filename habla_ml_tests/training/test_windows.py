from pathlib import Path

import pytest
import torch

from habla_ml.training.model_folder import load_whisper_model
from habla_ml.training.windows import limit_encoder_window


def test_a_limited_encoder_equals_the_encoder_with_cut_positions(tiny_base: Path) -> None:
    encoder = load_whisper_model(tiny_base).eval().get_encoder()
    mel = torch.randn(2, 80, 600)
    with torch.no_grad():
        with limit_encoder_window(encoder, 600):
            windowed = encoder(mel).last_hidden_state
        hidden = torch.nn.functional.gelu(encoder.conv1(mel))
        hidden = torch.nn.functional.gelu(encoder.conv2(hidden)).permute(0, 2, 1)
        hidden = hidden + encoder.embed_positions.weight[:300]
        for layer in encoder.layers:
            hidden = layer(hidden, None)
        assert torch.equal(windowed, encoder.layer_norm(hidden))


def test_the_encoder_has_its_1500_positions_again_after_the_block_even_after_an_error(
    tiny_base: Path, tmp_path: Path
) -> None:
    model = load_whisper_model(tiny_base).eval()
    with pytest.raises(ValueError, match="600"), limit_encoder_window(model.get_encoder(), 600):
        model.get_encoder()(torch.randn(1, 80, 400))
    assert model.get_encoder()(torch.randn(1, 80, 3000)).last_hidden_state.shape == (1, 1500, 32)
    model.save_pretrained(tmp_path)
    again = load_whisper_model(tmp_path)
    assert again.config.max_source_positions == 1500
    assert again.get_encoder().embed_positions.weight.shape == (1500, 32)
