"""The files of a project that its user owns: profiles, recipes, conventions, Dagster's configuration.

A clone has them in its root, and an installed wheel next to this module, from where `habla-ml init` copies them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT_FILES: Final = ("configs", "dagster_home/dagster.yaml", "workspace.yaml", ".env.example")
"""Files and folders below the root of a project."""
_PACKAGE: Final = Path(__file__).resolve().parent


@dataclass(frozen=True)
class WrittenProject:
    """What `write_project` did, as paths below its folder."""

    written: tuple[str, ...]
    kept: tuple[str, ...]
    """Files that existed already; they are not changed."""


def find_shipped_root() -> Path:
    """Return the folder with the shipped `PROJECT_FILES`: in the wheel, or the root of the clone."""
    installed = _PACKAGE / "project"
    return installed if installed.is_dir() else _PACKAGE.parent


def write_project(folder: Path) -> WrittenProject:
    """Copy the shipped files into a folder, which is created; a file that is there already stays as it is."""
    shipped, written, kept = find_shipped_root(), [], []
    for name in _list_files(shipped):
        target = folder / name
        if target.exists():
            kept.append(name)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipped / name, target)
        written.append(name)
    return WrittenProject(tuple(written), tuple(kept))


def _list_files(root: Path) -> Iterator[str]:
    for name in PROJECT_FILES:
        found = [root / name] if (root / name).is_file() else sorted((root / name).rglob("*"))
        yield from (each.relative_to(root).as_posix() for each in found if each.is_file())
