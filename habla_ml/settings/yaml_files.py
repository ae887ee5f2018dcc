"""Reading YAML files that people write, and error messages for their faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from habla_ml.errors import SettingsError
from habla_ml.settings.base import UNQUOTED, WRONG_DAY
from habla_ml.settings.yaml_loader import RepeatedKeyError, load_yaml

_NO_ORIGINS: Final[Mapping[str, str]] = {}


def read_mapping(path: Path, kind: str, *, private: bool = False) -> dict[str, Any]:
    """Return the keys and values of a YAML file.

    Args:
        path: The file.
        kind: The kind of file, in the singular: `recipe`.
        private: Whether the file names people; then no message quotes it.

    Raises:
        SettingsError: The file does not exist, is not YAML, or is not a mapping.
    """
    try:
        tree = load_yaml(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        known = sorted(each.name for each in path.parent.glob("*.yaml"))
        where = ", ".join(known) or "none; `habla-ml init` writes a project with all of them"
        raise SettingsError(f"{path} does not exist; {kind}s in its folder: {where}") from None
    except RepeatedKeyError as error:
        raise SettingsError(f"{path}: {error}") from None
    except yaml.MarkedYAMLError as error:
        where = "" if error.problem_mark is None else f" at line {error.problem_mark.line + 1}"
        raise SettingsError(f"{path} cannot be read as YAML{where if private else f': {error}'}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict):
        raise SettingsError(f"{path} is a {type(tree).__name__}, expected the keys and values of a {kind}")
    return tree


def format_validation_errors(
    error: ValidationError,
    model: type[BaseModel],
    where: str,
    origins: Mapping[str, str] = _NO_ORIGINS,
    *,
    private: bool = False,
) -> str:
    """Return one line for each fault: place, key, value and expectation.

    Args:
        error: The error of `model`.
        model: The model of the whole file.
        where: The file, as messages name it.
        origins: Origin of the values that are not from the file, by dotted key.
        private: Whether the file names people; then no unknown key is quoted, and no value except a wrong day.
    """
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            expectation = f"is unknown; keys here are {', '.join(_list_sibling_keys(fault['loc'], model))}"
            if private:
                key = ".".join([*map(str, fault["loc"][:-1]), "…"])
        elif fault["type"] == "missing":
            expectation = "is missing and has no default"
        elif fault["type"] == "value_error" and isinstance(fault["input"], Mapping):
            expectation = message  # The fault of a whole section; its values would hide the reason.
        else:
            expectation = describe_fault(fault, private=private)
        lines.append(f"{origins.get(key, where)}: {f'key {key}: ' if key else ''}{expectation}")
    return "\n".join(lines)


def describe_fault(fault: ErrorDetails, *, private: bool = False) -> str:
    """Return the value and what is wrong with it, with a hint where YAML reads text as a number, a date or a truth value.

    `private` values are not quoted, except a wrong day without letters, and values that can have a secret never are.
    """
    value, message = fault["input"], fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "string_type" and isinstance(value, bool | int | float | date):
        message = f"{message}; put it in quotes"
    if fault["type"] == UNQUOTED:
        return message
    shown = value.isoformat() if isinstance(value, date) else repr(value)
    if private and (fault["type"] != WRONG_DAY or (isinstance(value, str) and any(map(str.isalpha, value)))):
        return message
    return f"is {shown}: {message}"


def _list_sibling_keys(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """Return the known keys of the section of `location`."""
    section = model
    for part in location[:-1]:
        below = section.model_fields.get(str(part))
        if below is not None:
            section = next(find_models(below.annotation), section)
    return sorted(section.model_fields)


def find_models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a type: itself, or inside `| None`, `tuple[…]` and similar types."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for below in get_args(annotation):
        yield from find_models(below)
