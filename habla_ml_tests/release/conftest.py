"""A release to publish, and the stores to publish it to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from habla_ml.release.manifest import (
    ReleaseDraft,
)
from habla_ml_tests.lake.conftest import new_store, s3_client, small_disk, store
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files

__all__ = ["new_store", "s3_client", "small_disk", "store"]


@pytest.fixture
def draft() -> ReleaseDraft:
    return make_draft("v2")


@pytest.fixture
def files(tmp_path: Path) -> Mapping[str, Path]:
    return make_release_files(tmp_path / "files", "v2")
