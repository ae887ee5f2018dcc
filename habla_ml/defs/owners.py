"""The owners of the assets."""

from __future__ import annotations

DATA_OWNERS = ["team:classroom"]
MODEL_OWNERS = ["team:models"]
RELEASE_OWNERS = ["team:app"]
