"""The demo's base model."""

from pathlib import Path

import habla_ml

BASE_MODEL = Path(habla_ml.__file__).parent / "demo" / "base_model"
