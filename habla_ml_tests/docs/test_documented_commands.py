"""Each command of the documentation exists, and is run by a test or has a reason why not."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest
import typer

from habla_ml_tests.docs.command_tables import (
    EXIT_CODES,
    NOT_RUN,
    OTHER_PROGRAMS,
    RUN_BY_OTHER_TESTS,
    STAND_INS,
)
from habla_ml_tests.testing.command_line import run_habla_ml
from habla_ml_tests.testing.documented_commands import (
    SHELL,
    USAGE_ERROR,
    DocumentedCommand,
    parse_command,
    read_commands,
    split_page,
)
from habla_ml_tests.testing.documented_deployment import make_documented_deployment

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
COMMANDS = {page: tuple(read_commands(page)) for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_program_accepts_the_commands(page: Path) -> None:
    for each in COMMANDS[page]:
        if each.words[0] == "habla-ml" and each.words[1:] != ("COMMAND", "--help"):
            assert describe_fault(each) is None


def describe_fault(command: DocumentedCommand) -> str | None:
    """Return why the program refuses a command; inline, a command may be named without its arguments."""
    try:
        parse_command(command.words[1:])
    except typer.Exit:
        return None
    except USAGE_ERROR as error:
        if not command.is_block and type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError"):
            return None
        return f"{command.text}: {error}"
    return None


@pytest.mark.parametrize(
    "line", ["habla-ml statos", "habla-ml status --colour", "habla-ml rollout many", "habla-ml export-dataset a b"]
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    assert describe_fault(DocumentedCommand(tuple(line.split()), True)) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_commands_are_labelled(page: Path) -> None:
    for label, lines in split_page(page.read_text("utf-8"))[0]:
        if label not in SHELL:
            named = [
                each for each in lines if re.match(r"\s*(\$|sudo|make|pip|python3?|(\.venv/bin/)?habla-ml) ", each)
            ]
            assert named == [], f"label the block as one of {', '.join(SHELL)}"


@pytest.mark.long
def test_each_command_is_run_or_has_a_reason() -> None:
    documented = {
        each.text
        for commands in COMMANDS.values()
        for each in commands
        if each.words[0] == "habla-ml" and is_whole(each)
    }
    known = {*EXIT_CODES, *RUN_BY_OTHER_TESTS, *NOT_RUN}
    assert sorted(documented - known) == []
    assert sorted(known - documented) == []
    assert [name for name in RUN_BY_OTHER_TESTS.values() if not (ROOT / "habla_ml_tests" / name).exists()] == []


def is_whole(command: DocumentedCommand) -> bool:
    """Return whether a command has all its arguments, so that it can run."""
    try:
        parse_command(command.words[1:])
    except (USAGE_ERROR, typer.Exit):
        return False
    return True


def test_each_other_program_has_a_reason() -> None:
    others = {each.text for commands in COMMANDS.values() for each in commands if each.words[0] != "habla-ml"}
    unknown = {text for text in others if not any(re.match(pattern, text) for pattern in OTHER_PROGRAMS)}
    assert sorted(unknown) == []
    assert [each for each in OTHER_PROGRAMS if not any(re.match(each, text) for text in others)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_extras_exist(page: Path) -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
    named = {
        each
        for found in re.findall(r"habla[-_]ml[\w.-]*\[([\w,-]+)\]", page.read_text("utf-8"))
        for each in found.split(",")
    }
    assert named <= extras


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment with a backup; each command runs in a copy of it."""
    root = tmp_path_factory.mktemp("documented") / "school"
    make_documented_deployment(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert run_habla_ml("backup", "backup").returncode == 0
    return root


def list_executions() -> dict[tuple[str, ...], int]:
    """Return each different command line in the words of the deployment, with its exit code."""
    words_by_text = {each.text: each.words[1:] for commands in COMMANDS.values() for each in commands}
    return {
        tuple(STAND_INS.get(each, each) for each in words_by_text[text] if each not in ("-p", "local", "demo")): code
        for text, code in EXIT_CODES.items()
        if text in words_by_text  # another test names the others
    }


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code"), list_executions().items(), ids=str)
def test_a_documented_command_ends_as_documented(
    arguments: tuple[str, ...], code: int, deployment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "school"
    shutil.copytree(deployment, place)
    monkeypatch.chdir(place)
    found = run_habla_ml(*arguments, typed="y\n", DAGSTER_HOME=str(place / "dagster_home"))
    assert found.returncode == code, found.stdout + found.stderr
