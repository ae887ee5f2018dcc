"""A register of contributors who have not consented yet, and the sessions that wait for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from habla_ml_tests.testing.habla_sessions import HablaWorkspace, make_workspace

MONDAY, TUESDAY = "2026-02-16", "2026-02-17"
TALLER, CLASE, LATE = "taller_20260216_090000", "clase_20260216_100000", "clase_20260217_100000"
GIVEN = "2026-01-01"
ANA = {"contributor": "c-1", "sessions": ["taller_*"]}
REMEDIOS = {"contributor": "c-2", "speakers": [{"label": "Remedios"}]}


def make_workspace_with_register(root: Path, *entries: Mapping[str, Any]) -> HablaWorkspace:
    (root / "consents.yaml").touch()
    workspace = make_workspace(
        root, consent={"registry": str(root / "consents.yaml")}, recordings={"keep_raw_stream": True}
    )
    register(workspace, *entries)
    return workspace


def register(workspace: HablaWorkspace, *entries: Mapping[str, Any]) -> None:
    """Replace the entries of the register."""
    path = workspace.settings.consent.registry
    assert path is not None
    path.write_text(yaml.safe_dump({"contributors": list(entries)}), "utf-8")
