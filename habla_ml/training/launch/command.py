"""The command that starts a training where the settings say."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from habla_ml.settings import Settings
from habla_ml.training.launch.ray_job import build_submit_command


def build_command(settings: Settings, words: Sequence[str]) -> list[str]:
    """Return the command of a training with the options `words` of `python -m habla_ml.training`.

    It runs until the training ends. Its output and its messages to Dagster Pipes are those of rank 0.
    """
    launch = settings.training.launch
    if launch.where == "torchrun":
        module = "habla_ml.training.launch.torchrun"
        return [sys.executable, "-m", module, "--processes", str(launch.processes), *words]
    if launch.where == "ray":
        return build_submit_command(settings, words)
    return [sys.executable, "-m", "habla_ml.training", *words]
