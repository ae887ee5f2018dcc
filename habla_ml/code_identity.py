"""Which code runs: the commit and the changes on top of it, and the packages that it was locked to.

Training records and release manifests have it, so that a result can be computed again. It has no path and no name of a
machine, and it decides nothing: what repeats a training is `habla_ml.training.identity`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

import habla_ml

_PACKAGE: Final = Path(habla_ml.__file__).resolve().parent
_DISTRIBUTION: Final = "habla-ml"
_LOCK_FILE: Final = "constraints.txt"
_CODE_PATHS: Final = ("habla_ml", "pyproject.toml", _LOCK_FILE)
"""What decides how the code behaves; a changed page of the documentation is not a changed program."""
_GIT_TIMEOUT_S: Final = 30


class CodeIdentity(BaseModel):
    """The code of a process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    """Of the package, such as `1.0.0`."""
    commit: str | None
    """Git commit, of a checkout or of a package that was installed from git; None where neither is known."""
    changes: str | None
    """sha256 over the files that differ from the commit; None where there are none."""
    sources: str | None
    """sha256 over the files of the package; only where there is no commit."""
    lock: str
    """sha256 of `constraints.txt`, or over name and version of every installed package."""
    lock_of: Literal["constraints.txt", "installed packages"]

    def __str__(self) -> str:
        """Return it in a line: `28a82d26…-dirty-3f1c0a8e9b7d, lock 5ce8…`."""
        code = self.commit or f"sources-{self.sources}"
        return f"{code}{f'-dirty-{self.changes[:12]}' if self.changes else ''}, lock {self.lock[:12]}"


@lru_cache(maxsize=1)
def read_code_identity() -> CodeIdentity:
    """Return the code of this process; read once, since a process goes on with the modules that it has loaded."""
    return identify_code(_PACKAGE)


def identify_code(package: Path) -> CodeIdentity:
    """Return the code in the folder of the package `habla_ml`."""
    root = package.parent
    commit, changes = _read_checkout(root) or (_read_installed_commit(package), None)
    lock_file = root / _LOCK_FILE
    is_locked = (root / "pyproject.toml").is_file() and lock_file.is_file()
    return CodeIdentity(
        version=habla_ml.__version__,
        commit=commit,
        changes=changes,
        sources=None if commit else _digest_files(package, _list_package_files(package)),
        lock=hashlib.sha256(lock_file.read_bytes()).hexdigest() if is_locked else _digest_installed_packages(),
        lock_of="constraints.txt" if is_locked else "installed packages",
    )


def _read_checkout(root: Path) -> tuple[str, str | None] | None:
    """Return commit and changes of the checkout at `root`; None where git knows no folder, or only one above it."""
    if not (root / ".git").exists():
        return None
    commit = _run_git(root, "rev-parse", "--verify", "HEAD")
    changed = _run_git(root, "diff", "HEAD", "--name-only", "--no-renames", "-z", "--", *_CODE_PATHS)
    added = _run_git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *_CODE_PATHS)
    if commit is None or changed is None or added is None:
        return None
    names = sorted({name for name in (changed + added).split("\0") if name})
    return commit.strip(), _digest_files(root, names) if names else None


def _run_git(root: Path, *arguments: str) -> str | None:
    """Return what a git command prints, or None if there is no git or it refuses the folder."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # a hook of another repository sets them
        environment.pop(name, None)
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            env=environment,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "surrogateescape")


def _read_installed_commit(package: Path) -> str | None:
    """Return the commit that pip recorded (PEP 610) for the package in this folder."""
    try:
        installed = distribution(_DISTRIBUTION)
        if Path(str(installed.locate_file(package.name))).resolve() != package:
            return None
        found = json.loads(installed.read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return None
    source = found.get("vcs_info") if isinstance(found, dict) else None
    commit = source.get("commit_id") if isinstance(source, dict) else None
    return commit if isinstance(commit, str) and re.fullmatch(r"[0-9a-f]{40,64}", commit) else None


def _list_package_files(package: Path) -> list[str]:
    paths = (each.relative_to(package) for each in package.rglob("*") if each.is_file())
    return sorted(each.as_posix() for each in paths if "__pycache__" not in each.parts)


def _digest_files(folder: Path, names: list[str]) -> str:
    """Return a sha256 over the names and the bytes of these files; one that was removed counts with its name."""
    digest = hashlib.sha256()
    for name in names:
        path = folder / name
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "removed"
        digest.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _digest_installed_packages() -> str:
    found = {(str(each.metadata["Name"] or ""), each.version) for each in distributions()}
    lines = sorted(f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}" for name, version in found)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
