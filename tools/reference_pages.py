"""The generated pages of the documentation: every key of the settings, every command, the assets, the Python interface.

    python -m tools.reference_pages

writes the pages in `docs/reference`. A test fails where they are older than the code.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import click
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from habla_ml.cli.main import app
from habla_ml.settings import Settings
from tools.reference_api import render_api
from tools.reference_assets import render_assets

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs" / "reference"
_NAMES: Final = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", date: "day"}
_PROGRAM: Final = "habla-ml"
_SETTINGS_INTRODUCTION: Final = """\
A profile is a YAML file in `configs/`. This page lists all its keys; `habla-ml doctor` checks a profile. A variable of the
environment sets a key too: `HABLA_RELEASE__CHANNEL=beta` is `release.channel`. A key without a default must be set."""
_COMMANDS_INTRODUCTION: Final = """\
`habla-ml --help` and `habla-ml COMMAND --help` print the same. A command ends with 0 if it did its work, with 1 after a
fault that its message explains, and with 2 for a wrong option. `habla-ml train` ends with 75 if the same command goes on where it
was, as after a full disk, and with 130 after Ctrl+C."""
_SET_BY_LOADING: Final = ("profile", "profile_option")


def render_settings() -> str:
    """Return the page of all sections and keys of the settings."""
    lines = ["# Settings", "", *_SETTINGS_INTRODUCTION.splitlines(), ""]
    for path, model in _list_sections(Settings, ""):
        fields = ((name, each) for name, each in model.model_fields.items() if name not in _SET_BY_LOADING)
        keys = [(name, each) for name, each in fields if not _find_sections(each.annotation)]
        if path:
            lines += [f"## {path}", "", inspect.cleandoc(model.__doc__ or ""), ""]
        if keys:
            lines += ["| key | value | default |", "|---|---|---|"]
            lines += [
                f"| `{name}` | {_cell(_name_type(each.annotation))} | {_format_default(each)} |" for name, each in keys
            ]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def render_commands() -> str:
    """Return the page of all commands and their options."""
    lines = ["# Commands", "", *_COMMANDS_INTRODUCTION.splitlines(), ""]
    for name, command in _list_commands(typer.main.get_command(app), _PROGRAM):
        lines += [f"## {name}", "", _format_help(command), ""]
        rows = [_describe_parameter(each) for each in command.params if each.name != "help"]
        if rows:
            lines += ["| argument or option | meaning | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def _list_sections(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        for below in _find_sections(field.annotation):
            yield from _list_sections(below, f"{path}.{name}" if path else name)


def _find_sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for each in get_args(annotation):
        found += [model for model in _find_sections(each) if model not in found]
    return found


def _name_type(annotation: Any) -> str:
    """Return a type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _name_type(inner[0])
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in inner)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if each is types.NoneType else _name_type(each) for each in inner)
    if origin in (tuple, list, set, frozenset):
        return f"list of {_name_type(inner[0])}"
    if origin is dict or (isinstance(origin, type) and issubclass(origin, dict)):
        return "mapping"
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _format_default(field: Any) -> str:
    if field.is_required():
        return "–"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ", ".join(f"`{each}`" for each in value) or "none"
    return f"`{value}`" if value != "" else "empty"


def _list_commands(command: Any, name: str) -> Iterator[tuple[str, click.Command]]:
    for each, below in getattr(command, "commands", {}).items():
        if getattr(below, "commands", None):
            if below.invoke_without_command:  # a command of its own too, such as `train`
                yield f"{name} {each}", below
            yield from _list_commands(below, f"{name} {each}")
        else:
            yield f"{name} {each}", below


def _format_help(command: click.Command) -> str:
    text = inspect.cleandoc(command.help or "")
    return re.sub(r"^Example: (.+)$", r"Example: `\1`", text, flags=re.MULTILINE)


def _describe_parameter(parameter: click.Parameter) -> str:
    is_option = parameter.param_type_name == "option"
    names = [*parameter.opts, *parameter.secondary_opts] if is_option else [str(parameter.name).upper()]
    default = parameter.default
    is_shown = default is not None and default is not False and default != () and not callable(default)
    is_shown = is_shown and "Sentinel" not in type(default).__name__ and str(default) != "."
    meaning = getattr(parameter, "help", None) or ""
    shown = f"`{default}`" if is_shown else ""
    return f"| {', '.join(f'`{each}`' for each in names)} | {_cell(meaning)} | {shown} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES: Final = {
    "settings.md": render_settings,
    "commands.md": render_commands,
    "assets.md": render_assets,
    "api.md": render_api,
}
"""File in `FOLDER` → the function that returns its text."""


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, render in PAGES.items():
        (FOLDER / name).write_text(render(), "utf-8")


if __name__ == "__main__":
    main()
