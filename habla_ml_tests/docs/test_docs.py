"""The documentation names only what exists."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from habla_ml.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
CREATED_BY_THE_READER = {
    "habla_ml/evaluation/metrics/sentence_errors.py",
    "configs/conventions/orthographic-v5.yaml",
    "deploy/.env",
}
FOLDERS = r"(?:configs|docs|habla_ml|habla_ml_tests|benchmarks|tools|dagster_home|deploy)"

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def read_code(page: Path) -> Iterator[str]:
    """Yield every code span, and every line of the code blocks."""
    text = page.read_text("utf-8")
    for block in re.findall(r"^```.*?\n(.*?)^```", text, flags=re.M | re.S):
        yield from block.splitlines()
    for span in re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        yield " ".join(span.split())


@by_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), flags=re.M))
    named = {name for code in read_code(page) for name in re.findall(r"\bmake ([a-z][a-z-]*)", code)}
    assert named <= targets


@by_page
def test_files_exist(page: Path) -> None:
    pattern = rf"(?<![\w/.])({FOLDERS}/[\w./-]*\w/?|[\w-]+\.(?:toml|txt))(?![\w*{{<…])"
    named = {name for code in read_code(page) for name in re.findall(pattern, code)}
    assert sorted(name for name in named - CREATED_BY_THE_READER if not (ROOT / name).exists()) == []


@by_page
def test_modules_exist(page: Path) -> None:
    for name in {
        each for code in read_code(page) for each in re.findall(r"\bpython -m ((?:habla_ml|tools)[\w.]*)", code)
    }:
        path = ROOT.joinpath(*name.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name


def list_anchors(page: Path) -> set[str]:
    """Return the anchors of a page as GitHub writes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), flags=re.M)
    return {
        "".join(
            each for each in title.lower().replace(" ", "-") if each in "-_" or unicodedata.category(each)[0] in "LN"
        )
        for title in titles
    }


@by_page
def test_links_and_anchors_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in list_anchors(linked), target


def has_key(model: type[BaseModel], keys: list[str]) -> bool:
    """Return whether a path of keys leads through a settings model."""
    if not keys:
        return True
    field = model.model_fields.get(keys[0])
    if field is None:
        return False
    nested = [each for each in _types_in(field.annotation) if isinstance(each, type) and issubclass(each, BaseModel)]
    return any(has_key(each, keys[1:]) for each in nested) if nested else True


def _types_in(annotation: object) -> Iterator[object]:
    yield annotation
    for each in getattr(annotation, "__args__", ()):
        yield from _types_in(each)


@by_page
def test_settings_keys_exist(page: Path) -> None:
    sections = "|".join(Settings.model_fields)
    for code in read_code(page):
        found = re.fullmatch(rf"((?:{sections})(?:\.[a-z_]+)+)(?:: .*)?", code)
        # `splits.fingerprint` may also name a module; a module of that name counts.
        if found and not ROOT.joinpath("habla_ml", *found[1].split(".")).with_suffix(".py").exists():
            assert has_key(Settings, found[1].split(".")), code


@by_page
def test_assets_exist(page: Path, asset_names: set[str]) -> None:
    text = page.read_text("utf-8")
    named = set(re.findall(r"[Mm]ateriali[sz]e `([a-z_]+)`", text))
    assert named <= asset_names


@pytest.fixture(scope="module")
def asset_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of all assets."""
    from habla_ml.definitions import build_definitions
    from habla_ml.settings import load_settings

    recordings = str(tmp_path_factory.mktemp("recordings"))
    settings = load_settings(ROOT / "configs" / "local.yaml", {"HABLA_RECORDINGS__FOLDER": recordings})
    definitions = build_definitions(settings)
    return {key.path[-1] for key in definitions.resolve_asset_graph().get_all_asset_keys()}
