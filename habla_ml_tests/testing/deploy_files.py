"""The files in `deploy/`: their documents, and whether a command line or the variables of a process are valid."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import typer

from habla_ml.cli.main import app
from habla_ml.settings import Settings, load_settings
from habla_ml.settings.yaml_loader import load_yaml

ROOT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = ROOT / "deploy"
SYSTEMD: Final = DEPLOY / "systemd"
INSTALLED: Final = "/opt/habla_ml/.venv/bin/"
"""The folder of the programs in the units."""
CODE_SERVER_PORT, WEB_SERVER_PORT, SERVICE_PORT, S3_PORT = 4000, 3000, 8787, 8333
_VARIABLE: Final = re.compile(r"\$\{([A-Z_]+)(?::([?-])([^}]*))?\}")


def read_documents(path: Path) -> list[Any]:
    """Return the documents of a YAML file; a repeated key is an error."""
    return [load_yaml(each) for each in re.split(r"^---$", path.read_text("utf-8"), flags=re.MULTILINE)]


def read_document(path: Path) -> Any:
    """Return the only document of a YAML file."""
    [document] = read_documents(path)
    return document


def read_variables(path: Path) -> dict[str, str]:
    """Return the variables of a file with one NAME=value a line."""
    lines = [each for each in path.read_text("utf-8").splitlines() if each and not each.startswith("#")]
    return dict(each.split("=", 1) for each in lines)


def read_unit_values(unit: Path, key: str) -> list[str]:
    """Return the values of a key of a unit of systemd."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text("utf-8"), re.MULTILINE)


def find_variables(text: str) -> set[str]:
    """Return the names in `${NAME}`, `${NAME:-default}` and `${NAME:?message}`."""
    return {each[0] for each in _VARIABLE.findall(text)}


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """Return a tree of values as Compose reads it; a required variable without a value is a KeyError."""
    if isinstance(value, Mapping):
        return {key: interpolate(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolate(each, variables) for each in value]
    return _VARIABLE.sub(lambda found: _resolve(found, variables), value) if isinstance(value, str) else value


def _resolve(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, operator, text = found.groups()
    return variables[name] or text if operator != "-" else variables.get(name) or text


def load_process_settings(variables: Mapping[str, Any]) -> Settings:
    """Return the settings of a process with these variables; an unknown `HABLA_…` variable is an error."""
    return load_settings(None, {"HABLA_CONFIGS": str(ROOT / "configs"), **{k: str(v) for k, v in variables.items()}})


def check_command(words: Sequence[str]) -> None:
    """Fail where a program of the project or of Dagster does not exist, or refuses its arguments; relative to `ROOT`."""
    program, *arguments = words
    if program == "sh":
        for each in _split_shell(arguments[-1]):
            check_command(each)
    elif program == "python" and arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]) is not None, arguments[1]
    elif program == "python":
        compile(arguments[1], "<command>", "exec")
    else:
        _parse(_load_programs()[program], program, arguments)


def _split_shell(script: str) -> Iterator[list[str]]:
    for each in script.split("&&"):
        words = shlex.split(each)
        yield words[1:] if words[0] == "exec" else words


def _parse(command: click.Command, name: str, arguments: list[str]) -> None:
    while commands := getattr(command, "commands", None):
        name, *arguments = arguments
        assert name in commands, name
        command = commands[name]
    command.make_context(name, list(arguments))


def _load_programs() -> dict[str, click.Command]:
    from dagster._cli import cli as dagster_cli
    from dagster._daemon.cli import create_dagster_daemon_cli
    from dagster_webserver.cli import dagster_webserver

    return {
        "dagster": dagster_cli,
        "dagster-daemon": create_dagster_daemon_cli(),
        "dagster-webserver": dagster_webserver,
        "habla-ml": typer.main.get_command(app),
    }
