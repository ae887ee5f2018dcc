"""A checkpoint that loses too much in a small type keeps the weights that lose most in float16."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from habla_ml.export.coreml.convert import convert_to_coreml, get_package
from habla_ml.export.coreml.mixed import CompressedWeight, choose_weights, compress_within_bounds
from habla_ml.export.coreml.quantisation import COREML_QUANTISATIONS
from habla_ml.export.coreml.target import COREML_TARGETS
from habla_ml.export.programs.parity import find_parity_problems
from habla_ml.runtimes.mil_interpreter import load_program
from habla_ml_tests.testing.base_model import BASE_MODEL

PALETTE = COREML_QUANTISATIONS["palettised-6bit"]


def write_short_model(folder: Path) -> Path:
    """Write the demo's base model with two of its four encoder layers."""
    checkpoint = Path(shutil.copytree(BASE_MODEL, folder))
    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    (checkpoint / "config.json").write_text(json.dumps({**config, "encoder_layers": 2}), "utf-8")
    tensors = load_file(checkpoint / "model.safetensors")
    dropped = ("model.encoder.layers.2.", "model.encoder.layers.3.")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(dropped)}
    save_file(kept, checkpoint / "model.safetensors", metadata={"format": "pt"})
    return checkpoint


def spread_values(checkpoint: Path) -> None:
    """Scale the channels of the first layer's values from 1/256 to 1, and undo it after the attention.

    The model computes the same, but one palette for all channels has few values for the small ones.
    """
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    attention = "model.encoder.layers.0.self_attn."
    scale = torch.logspace(-8, 0, tensors[f"{attention}v_proj.bias"].numel(), base=2.0)
    tensors[f"{attention}v_proj.weight"] *= scale[:, None]
    tensors[f"{attention}v_proj.bias"] *= scale
    tensors[f"{attention}out_proj.weight"] /= scale
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.slow
def test_the_weights_that_lose_most_stay_in_float16_until_the_bounds_hold(tmp_path: Path) -> None:
    checkpoint = write_short_model(tmp_path / "spread")
    spread_values(checkpoint)
    out, lines = tmp_path / "out", list[str]()
    prepared = convert_to_coreml(checkpoint, out, COREML_TARGETS["iOS18"], lines.append)
    parity, kept = compress_within_bounds(out, prepared.folder, "palettised-6bit", lines.append)
    changed = {f"AudioEncoder/layers_0_attention_{each}_weight_to_fp16" for each in ("out", "values")}
    assert kept
    assert set(kept) <= changed, "only those that were changed"
    counts = range(1, len(kept) + 1)
    assert [each for each in lines if each.startswith("mixed")] == [f"mixed: {n} weights in float16" for n in counts]
    assert find_parity_problems(parity, PALETTE.bounds) == []
    stored = load_program(get_package(out, "AudioEncoder")).constants
    weights = [each.removeprefix("AudioEncoder/") for each in kept]
    assert [name for name in weights if f"{name}_palettized" in stored] == []
    assert "layers_0_attention_keys_weight_to_fp16_palettized" in stored


def test_weights_are_kept_up_to_the_size_of_the_next_larger_type() -> None:
    large, small, tiny = (
        CompressedWeight("AudioEncoder", name, "", n, 0.1) for name, n in (("a", 900), ("b", 90), ("c", 10))
    )
    ranked = (large, small, tiny)  # 1,000 values: two bits each are spare, and a weight in float16 needs ten of them
    assert choose_weights(ranked, 3, PALETTE) == (small, tiny)
    assert choose_weights(ranked, 1, PALETTE) == (small,)
