"""Fixtures of several packages, and the profile of hypothesis."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from habla_ml_tests.testing.habla_sessions import HablaWorkspace, make_workspace

# The time of an example depends on the load of the machine, so no example has a deadline.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


@pytest.fixture
def workspace(tmp_path: Path) -> HablaWorkspace:
    """Return Habla's folders without a session, and an empty lake."""
    return make_workspace(tmp_path)
