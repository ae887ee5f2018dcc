"""The page of the dependencies names what `pyproject.toml` requires."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PAGE: Final = (ROOT / "docs" / "dependencies.md").read_text("utf-8")


def read_rows(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading, without its header."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip(" `") for cell in row] for row in rows]


def name_packages(requirements: Iterable[str]) -> list[str]:
    return [re.split(r"[\[=<>; ]", each, maxsplit=1)[0] for each in requirements]


def test_each_required_package_has_a_reason_and_a_licence() -> None:
    rows = read_rows("Always installed")
    assert [row[0] for row in rows] == sorted(name_packages(PROJECT["dependencies"]), key=str.lower)
    assert all(len(row) == 3 and all(row) for row in rows)


def test_each_package_of_an_extra_has_a_reason_and_a_licence() -> None:
    extras = {name: each for name, each in PROJECT["optional-dependencies"].items() if name not in ("dev", "demo")}
    required = sorted((package, extra) for extra, each in extras.items() for package in name_packages(each))
    rows = read_rows("Extras")
    assert [(row[0], row[1]) for row in rows] == required
    assert all(len(row) == 4 and all(row) for row in rows)
