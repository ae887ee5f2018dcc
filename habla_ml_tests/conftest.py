"""What tests of several rooms begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml_tests.testing.habla_sessions import HablaWorkspace, make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    """A Habla without a session, and an empty lake."""
    return make_workspace(tmp_path)
