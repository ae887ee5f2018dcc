"""Our code and the pins of its packages, so that another machine runs the same training."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import habla_ml
from habla_ml.errors import TrainingError

_ROOTS: Final = (
    "accelerate",
    "jiwer",
    "numpy",
    "peft",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "soundfile",
    "soxr",
    "sqlalchemy",
    "tensorboard",
    "torch",
    "transformers",
)
"""What a training imports; the packages that these need follow from them."""
_BROUGHT_BY_TORCH: Final = re.compile(r"nvidia-|cuda-|triton$|pytorch-triton")
"""Torch pins these itself, differently for each platform."""


def copy_code(folder: Path) -> None:
    """Copy the package to `folder`."""
    package = Path(habla_ml.__file__).resolve().parent
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def list_pins(more: Collection[str] = ()) -> list[str]:
    """Return `name==version` of every package that a training needs and of `more`, as installed here.

    A local version such as `+cpu` is left out, so that torch is the build for the other machine's platform.

    Raises:
        TrainingError: A package is not installed.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    versions: dict[str, str] = {}
    waiting = [(name, frozenset[str]()) for name in (*_ROOTS, *more)]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        name = canonicalize_name(name)
        if (name, extras) in seen or _BROUGHT_BY_TORCH.match(name):
            continue
        seen.add((name, extras))
        try:
            found = distribution(name)
        except PackageNotFoundError as error:
            raise TrainingError(
                f"package {name} is not installed here, so it has no pin; install habla-ml again"
            ) from error
        versions[name] = found.version.partition("+")[0]
        for line in found.requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": each}) for each in extras or {""}):
                waiting.append((needed.name, frozenset(needed.extras)))
    return [f"{name}=={version}" for name, version in sorted(versions.items())]
