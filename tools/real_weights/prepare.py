"""Fetch and convert whisper-base where it is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tools.real_weights.convert import convert_to_transformers
from tools.real_weights.fetch import fetch_whisper_base

CTRANSLATE2_FOLDER: Final = "whisper-base-ctranslate2"


def prepare_base_model(folder: Path, log: Callable[[str], None]) -> Path:
    """Return whisper-base below `folder` as a Transformers folder; fetch and convert it if it is missing."""
    source = fetch_whisper_base(folder / CTRANSLATE2_FOLDER, log)
    base = folder / "whisper-base"
    if not base.exists():
        for line in convert_to_transformers(source, base):
            log(f"complete-base-model: {line}")
    return base
