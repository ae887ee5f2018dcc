"""The code that runs: a checkout, a changed one, a package without git, and one that pip installed from git."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from habla_ml.code_identity import identify_code, read_code_identity

LOCK = b"torch==2.13.0\n"


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write_project(folder: Path) -> Path:
    """Write a project and return the folder of its package."""
    package = folder / "habla_ml"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("A = 1\n")
    (package / "other.py").write_text("B = 1\n")
    (folder / "pyproject.toml").write_text("[project]\n")
    (folder / "constraints.txt").write_bytes(LOCK)
    (folder / "README.md").write_text("read me\n")
    return package


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    package = write_project(tmp_path / "project")
    git(package.parent, "init", "--quiet")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "--quiet", "-m", "first")
    return package


def test_a_checkout_is_its_commit_and_the_digest_of_its_lock(checkout: Path) -> None:
    found = identify_code(checkout)
    assert found.commit == git(checkout.parent, "rev-parse", "HEAD")
    assert (found.changes, found.sources) == (None, None)
    assert (found.lock, found.lock_of) == (hashlib.sha256(LOCK).hexdigest(), "constraints.txt")
    assert str(found) == f"{found.commit}, lock {found.lock[:12]}"


def test_changed_code_has_a_digest_that_follows_the_bytes(checkout: Path) -> None:
    clean = identify_code(checkout)
    (checkout / "other.py").write_text("B = 2\n")
    changed = identify_code(checkout)
    assert (changed.commit, changed.changes is None) == (clean.commit, False)
    assert f"-dirty-{changed.changes[:12]}, lock" in str(changed)
    (checkout / "other.py").write_text("B = 3\n")
    assert identify_code(checkout).changes not in (None, changed.changes)
    (checkout / "other.py").write_text("B = 2\n")
    assert identify_code(checkout) == changed
    (checkout / "other.py").unlink()
    assert identify_code(checkout).changes not in (None, changed.changes)
    (checkout / "other.py").write_text("B = 1\n")
    assert identify_code(checkout) == clean


def test_a_file_that_git_does_not_know_is_a_change_and_a_page_is_none(checkout: Path) -> None:
    (checkout.parent / "README.md").write_text("read more\n")
    (checkout.parent / "notes.txt").write_text("mine\n")
    assert identify_code(checkout).changes is None
    (checkout / "new_module.py").write_text("C = 1\n")
    assert identify_code(checkout).changes is not None


def test_a_changed_lock_is_a_change_and_another_lock(checkout: Path) -> None:
    before = identify_code(checkout)
    (checkout.parent / "constraints.txt").write_text("torch==2.14.0\n")
    after = identify_code(checkout)
    assert after.lock != before.lock
    assert after.changes is not None


def test_without_git_the_sources_are_digested(tmp_path: Path) -> None:
    package = write_project(tmp_path)
    first = identify_code(package)
    assert (first.commit, first.changes, len(first.sources or "")) == (None, None, 64)
    assert str(first).startswith("sources-")
    (package / "other.py").write_text("B = 2\n")
    assert identify_code(package).sources != first.sources


def test_a_package_below_the_repository_of_another_project_does_not_have_its_commit(checkout: Path) -> None:
    site = checkout.parent / "venv" / "site-packages"
    package = write_project(site)
    (site / "pyproject.toml").unlink()
    found = identify_code(package)
    assert (found.commit, found.lock_of) == (None, "installed packages")
    assert found.sources is not None


@pytest.mark.long
def test_a_package_that_pip_installed_from_git_has_that_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = write_project(tmp_path)
    (tmp_path / "pyproject.toml").unlink()
    metadata = tmp_path / "habla_ml-9.9.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: habla-ml\nVersion: 9.9\n")
    source = {"url": "https://example.org/habla_ml.git", "vcs_info": {"vcs": "git", "commit_id": "1" * 40}}
    (metadata / "direct_url.json").write_text(json.dumps(source))
    before = identify_code(package).lock
    monkeypatch.syspath_prepend(str(tmp_path))
    found = identify_code(package)
    assert (found.commit, found.sources) == ("1" * 40, None)
    assert found.lock != before, "one more package is installed"
    (metadata / "direct_url.json").write_text("[]")
    assert identify_code(package).commit is None


def test_the_identity_of_this_process_has_no_path_of_the_machine() -> None:
    found = read_code_identity()
    assert str(Path(__file__).resolve().parents[1]) not in found.model_dump_json()
    assert "/" not in found.model_dump_json()
