"""A school whose version v1 is on the channel."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.lake import DirectoryStore, Lake
from habla_ml.settings import Settings
from habla_ml_tests.evaluation.conftest import artefact
from habla_ml_tests.monitoring.world import RELEASED, School, found_school
from habla_ml_tests.review.conftest import lake, settings, store

__all__ = ["artefact", "lake", "settings", "store"]


@pytest.fixture
def school(lake: Lake, store: DirectoryStore, settings: Settings, artefact: Path, tmp_path: Path) -> School:
    return found_school(lake, store, settings, artefact, tmp_path / "school")


def start_of(week: int, settings: Settings) -> datetime:
    """The first moment of a week, 0 being the first since the release."""
    return datetime(RELEASED.year, RELEASED.month, RELEASED.day, tzinfo=settings.zone) + timedelta(weeks=week)
