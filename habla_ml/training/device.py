"""What a training computes with: the device, its numeric precision and the implementation of attention."""

from __future__ import annotations

from typing import Final

from habla_ml.errors import TrainingError
from habla_ml.training.recipe import Recipe
from habla_ml.training.windows import FULL_FRAMES

CPU: Final = "cpu"


def name_device() -> str:
    """Return the name of the GPU, or `cpu`: what a run's identity has, so that only an equal device resumes the run."""
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else CPU


def describe_device() -> str:
    """Return the device in words."""
    import torch

    name = name_device()
    return f"CPU, {torch.get_num_threads()} threads" if name == CPU else name


def resolve_precision(recipe: Recipe) -> str:
    """Return `fp32`, `fp16` or `bf16` for this machine; raises `TrainingError` if it lacks the recipe's precision.

    `auto` chooses only what the device computes natively; Turing GPUs and CPUs without its instructions emulate bf16.
    """
    import torch

    if torch.cuda.is_available():
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        automatic, possible = ("bf16" if has_bf16 else "fp16"), {"fp32", "fp16", "bf16"}
    else:
        instructions = torch.cpu.get_capabilities()
        has_bf16 = any(instructions.get(each, False) for each in ("amx_bf16", "avx512_bf16", "sve_bf16"))
        automatic, possible = ("bf16", {"fp32", "bf16"}) if has_bf16 else ("fp32", {"fp32"})
    if recipe.precision == "auto":
        return automatic
    if recipe.precision not in possible:
        raise TrainingError(
            f"recipe {recipe.name} has precision {recipe.precision}, but this machine supports only "
            f"{', '.join(sorted(possible))}; set precision to auto or fp32"
        )
    return recipe.precision


def choose_attention(n_frames: int) -> str:
    """Return the faster attention: fused, except for short windows on a CPU (saves a fifth of a step at 5 s)."""
    import torch

    return "sdpa" if torch.cuda.is_available() or n_frames == FULL_FRAMES else "eager"


def describe_attention() -> str:
    """Return the implementations that a run uses, those of short windows first, such as `eager, sdpa`."""
    return ", ".join(dict.fromkeys((choose_attention(FULL_FRAMES // 2), choose_attention(FULL_FRAMES))))
