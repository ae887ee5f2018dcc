"""What tests of several rooms begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml_tests.recordings.world import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A Habla without a session, and an empty lake."""
    return make_world(tmp_path)
