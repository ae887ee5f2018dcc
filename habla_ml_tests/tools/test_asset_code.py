"""A change of the code behind an asset needs a decision; a change of words does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.definitions import build_definitions
from habla_ml.defs.code_versions import ASSET_CODE, AssetCode, get_code_version
from habla_ml_tests.testing.deployment_settings import write_settings
from tools.asset_code import (
    RecordedCode,
    digest_source,
    explain,
    find_undecided,
    main,
    read_present_code,
    read_record,
)

CODE = "def add(a, b):\n    return a + b\n"


@pytest.mark.long
def test_every_changed_asset_was_decided() -> None:
    recorded, present = read_record(), read_present_code(ASSET_CODE)
    undecided = find_undecided(ASSET_CODE, recorded, present)
    assert not undecided, explain(undecided)
    assert recorded == present, "run python -m tools.asset_code --record"


def test_every_asset_of_the_deployment_has_its_listed_version(tmp_path: Path) -> None:
    release = {"store": {"url": "cdn"}, "hub": {"repository": "habla/andalusian"}}
    export = {
        "onnx_quantisation": "int8",
        "ggml_quantisation": "q5_1",
        "checkpoint_archive": True,
    }  # with every asset that is off by default
    specs = build_definitions(write_settings(tmp_path, release=release, export=export)).resolve_all_asset_specs()
    versions = {spec.key.path[-1]: str(spec.code_version).partition("-")[0] for spec in specs}
    assert versions == {name: code.version for name, code in ASSET_CODE.items()}


def test_an_asset_without_a_version_is_refused() -> None:
    with pytest.raises(LookupError, match=r"asset onnx_zip has no code version; add it"):
        get_code_version("onnx_zip")


@pytest.mark.parametrize(
    "same",
    [
        '"""Add."""\n\n\ndef add(a, b):\n    """Return the sum."""\n    return a + b  # of both\n',
        "def add(\n    a,\n    b,\n):\n    return (a + b)\n",
    ],
)
def test_words_and_layout_do_not_change_the_digest(same: str) -> None:
    assert digest_source(same) == digest_source(CODE)


@pytest.mark.parametrize("other", ["def add(a, b):\n    return a - b\n", CODE + "X = 1\n", CODE.replace("b)", "b=0)")])
def test_other_code_changes_the_digest(other: str) -> None:
    assert digest_source(other) != digest_source(CODE)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    (folder / "stage").mkdir(parents=True)
    (folder / "stage" / "__init__.py").write_text('"""A stage."""\n')
    (folder / "stage" / "steps.py").write_text(CODE)
    (folder / "other.py").write_text("A = 1\n")
    return folder


ASSETS = {"first": AssetCode("1", ("stage",)), "second": AssetCode("1", ("other",))}


def test_only_the_assets_of_a_changed_module_need_a_decision(package: Path) -> None:
    recorded = read_present_code(ASSETS, package)
    assert find_undecided(ASSETS, recorded, read_present_code(ASSETS, package), package) == {}
    (package / "stage" / "steps.py").write_text(CODE.replace("+", "-"))
    changed = read_present_code(ASSETS, package)
    assert find_undecided(ASSETS, recorded, changed, package) == {"first": ["stage.steps"]}
    raised = {**ASSETS, "first": AssetCode("2", ("stage",))}
    assert find_undecided(raised, recorded, read_present_code(raised, package), package) == {}


def test_a_module_that_came_or_left_needs_a_decision(package: Path) -> None:
    recorded = read_present_code(ASSETS, package)
    (package / "stage" / "more.py").write_text("B = 1\n")
    with_more = read_present_code(ASSETS, package)
    assert find_undecided(ASSETS, recorded, with_more, package) == {"first": ["stage.more"]}
    (package / "stage" / "more.py").unlink()
    assert find_undecided(ASSETS, with_more, read_present_code(ASSETS, package), package) == {"first": ["stage.more"]}


def test_a_module_that_does_not_exist_is_an_error(package: Path) -> None:
    with pytest.raises(LookupError, match=r"no module habla_ml\.gone; correct ASSET_CODE"):
        read_present_code({"first": AssetCode("1", ("gone",))}, package)


def test_the_command_asks_and_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "asset_code.json"
    present = read_present_code(ASSET_CODE)
    RecordedCode(present.versions, {**present.modules, "corpus.splits": "0" * 16}).write(path)
    assert main([], path) == 1
    assert "splits: corpus.splits" in capsys.readouterr().out
    assert main(["--record"], path) == 1, "no version was raised"
    assert main(["--same", "spltis"], path) == 1
    assert main(["--same", "splits"], path) == 0
    assert read_record(path) == present
    RecordedCode({**present.versions, "splits": "0"}, {**present.modules, "corpus.splits": "0" * 16}).write(path)
    assert main([], path) == 1
    assert "--record" in capsys.readouterr().out
    assert main(["--record"], path) == 0
    assert read_record(path) == present
