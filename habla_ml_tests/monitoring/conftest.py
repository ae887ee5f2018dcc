"""A school with version v1 on the channel."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from habla_ml.lake import DirectoryStore, Lake
from habla_ml.settings import Settings
from habla_ml_tests.evaluation.conftest import artefact
from habla_ml_tests.review.conftest import lake, settings, store
from habla_ml_tests.testing.monitored_deployment import FIRST_WEEK_START, MonitoredDeployment, create_school

__all__ = ["artefact", "lake", "settings", "store"]


@pytest.fixture
def monitored_deployment(
    lake: Lake, store: DirectoryStore, settings: Settings, artefact: Path, tmp_path: Path
) -> MonitoredDeployment:
    return create_school(lake, store, settings, artefact, tmp_path / "monitored_deployment")


def week_start(week: int, settings: Settings) -> datetime:
    """Return the start of a week; week 0 is the first after the release."""
    return datetime(
        FIRST_WEEK_START.year, FIRST_WEEK_START.month, FIRST_WEEK_START.day, tzinfo=settings.zone
    ) + timedelta(weeks=week)
