"""The locks agree with the pins, name every package that a deployment needs, and hash every file."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools.locks import EXTRAS

ROOT = Path(__file__).parents[2]
LOCKS = ("deploy/requirements.lock", "deploy/torch-pypi.lock", "deploy/torch-cpu.lock", "tools/audit.lock")

UNTESTED = re.compile(r"(nvidia|cuda)-.*|triton|colorama|pyreadline3|pywin32|httpx2-jsfetch|setuptools")


def read_lock(name: str) -> dict[str, Requirement]:
    """Return the requirements of a file by canonical name."""
    text = re.sub(r"\s*\\\n\s+--hash=\S+", "", (ROOT / name).read_text("utf-8"))
    found = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(each.name): each for each in found}


def get_version(requirement: Requirement) -> Version:
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return Version(specifier.version)


@pytest.mark.parametrize("name", LOCKS)
def test_each_package_of_a_lock_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    blocks = [each for each in re.split(r"^(?=[a-z])", text, flags=re.M) if not each.startswith("#")]
    assert [each for each in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}$", each, re.M)] == []
    assert "://" not in text
    assert [line for line in text.splitlines() if line.startswith("-")] == []


@pytest.mark.parametrize("name", LOCKS[:3])
def test_the_locks_of_a_deployment_have_the_tested_versions(name: str) -> None:
    tested = {name: get_version(each) for name, each in read_lock("constraints.txt").items()}
    locked = {name: Version(get_version(each).public) for name, each in read_lock(name).items()}
    assert {name: version for name, version in locked.items() if tested.get(name, version) != version} == {}
    # Other systems and CUDA need packages that are not installed where the tests run.
    assert [name for name in locked if name not in tested and not UNTESTED.fullmatch(name)] == []


@pytest.mark.parametrize("torch", LOCKS[1:3])
def test_the_locks_have_everything_that_a_deployment_imports(torch: str) -> None:
    locked = {**read_lock(LOCKS[0]), **read_lock(torch)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = [
        *project["dependencies"],
        *(each for extra in EXTRAS for each in project["optional-dependencies"][extra]),
    ]
    wanted = [(Requirement(each), "pyproject.toml") for each in declared]
    seen, faults = set(), []
    while wanted:
        requirement, source = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name not in locked or not requirement.specifier.contains(get_version(locked[name]), prereleases=True):
            faults.append(f"{source} needs {requirement}, and the lock has {locked.get(name)}")
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                wanted += [(each, name) for each in list_requirements(name, extra)]
    assert faults == []


def list_requirements(name: str, extra: str) -> list[Requirement]:
    """Return what an installed package needs here, on a machine without CUDA."""
    found = [Requirement(each) for each in requires(name) or []]
    environment = {**default_environment(), "extra": extra}
    return [each for each in found if each.marker is None or each.marker.evaluate(environment)]


def test_the_lock_of_the_audit_has_its_tools() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    locked = read_lock("tools/audit.lock")
    for each in map(Requirement, groups["audit"]):
        assert each.specifier.contains(get_version(locked[canonicalize_name(each.name)]))
