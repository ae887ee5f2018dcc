"""Fixtures: a small lake, settings, and a release channel with real CTranslate2 folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.lake import DirectoryStore, Lake
from habla_ml.settings import Settings
from habla_ml_tests.evaluation.conftest import artefact
from habla_ml_tests.testing.released_models import make_review_settings

__all__ = ["artefact"]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "cdn")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_review_settings(tmp_path)
