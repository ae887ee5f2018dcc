"""What an import left in the lake of a workspace."""

from __future__ import annotations

import io

from rich.console import Console

from habla_ml_tests.testing.habla_sessions import HablaWorkspace


def list_object_names(workspace: HablaWorkspace) -> set[str]:
    return {path.name for path in (workspace.root / "lake" / "objects").rglob("*") if path.is_file()}


def read_day_pointers(workspace: HablaWorkspace) -> dict[str, str]:
    return {
        name: str(pointer.value["parquet"])
        for name in workspace.lake.list_pointers("recordings/")
        if (pointer := workspace.lake.read_pointer(name)) is not None
    }


def make_silent_console() -> Console:
    return Console(file=io.StringIO())
