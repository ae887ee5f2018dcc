"""Training on a card with little memory: a frozen base in 4 bits (QLoRA), and an optimiser with 8-bit states.

Both are computed by the package bitsandbytes. The published model has the adapters merged into the base's own weights,
not into the 4-bit ones.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

from habla_ml.errors import TrainingError
from habla_ml.training.device import resolve_precision
from habla_ml.training.recipe import Recipe

BITSANDBYTES: Final = "bitsandbytes"
OPTIMISERS: Final = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit"}
"""Names of the recipe and of Transformers."""


def needs_bitsandbytes(recipe: Recipe) -> bool:
    """Return whether the recipe uses 4-bit weights or 8-bit states; raises `TrainingError` if this machine cannot.

    On a CPU bitsandbytes 0.50 cannot train on after a validation, which packs the 4-bit weights in another way.
    """
    import torch

    used = [f"quantisation: {recipe.quantisation}"] if recipe.quantisation else []
    used += [f"optimizer: {recipe.optimizer}"] if recipe.optimizer == "adamw_8bit" else []
    if not used:
        return False
    if not torch.cuda.is_available():
        raise TrainingError(
            f"recipe {recipe.name} has {', '.join(used)}, which needs a CUDA GPU, and this machine has none; remove it, or "
            "train on a machine with one"
        )
    if find_spec(BITSANDBYTES) is None:
        raise TrainingError(
            f"recipe {recipe.name} has {', '.join(used)}, which needs the package {BITSANDBYTES}; run "
            f"pip install 'habla-ml[{BITSANDBYTES}]', or remove it"
        )
    return True


def build_quantisation_options(recipe: Recipe) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` for the recipe's quantisation; empty for none.

    The weights are NF4 with quantised constants, as in QLoRA (Dettmers et al. 2023).
    """
    if recipe.quantisation is None:
        return {}
    import torch
    from transformers import BitsAndBytesConfig

    types = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=types[resolve_precision(recipe)],
    )
    return {"quantization_config": config}
