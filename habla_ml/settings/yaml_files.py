"""YAML files that people write: reading one, and saying what is wrong with it so that it can be mended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import yaml
from pydantic import BaseModel, ValidationError

from habla_ml.errors import SettingsError

_NO_ORIGINS: Final[Mapping[str, str]] = {}


def read_mapping(path: Path, kind: str, *, private: bool = False) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Args:
        path: The file.
        kind: What such a file holds, in the singular: `recipe`.
        private: It names people; no message repeats a line of it.

    Raises:
        SettingsError: It is not there (names those beside it), is no YAML, or holds no keys and values.
    """
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        known = sorted(each.name for each in path.parent.glob("*.yaml"))
        raise SettingsError(f"{path} does not exist; {kind}s found beside it: {known or 'none'}") from None
    except yaml.MarkedYAMLError as error:
        where = "" if error.problem_mark is None else f" at line {error.problem_mark.line + 1}"
        raise SettingsError(f"{path} cannot be read as YAML{where if private else f': {error}'}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict):
        raise SettingsError(f"{path} holds {type(tree).__name__}, expected the keys and values of a {kind}")
    return tree


def format_validation_errors(
    error: ValidationError,
    model: type[BaseModel],
    where: str,
    origins: Mapping[str, str] = _NO_ORIGINS,
    *,
    private: bool = False,
) -> str:
    """Every fault as a line: where it stands, its key, the value found and what was expected.

    Args:
        error: What `model` raised.
        model: The model that the whole file was to be.
        where: The file, as a message names it.
        origins: Dotted key → where its value came from, if not from the file.
        private: The file names people; neither a value nor an unknown key is repeated.
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
            expectation = message  # of a whole section, whose values would bury the reason
        else:
            expectation = message if private else f"is {fault['input']!r}: {message}"
        lines.append(f"{origins.get(key, where)}: {f'key {key}: ' if key else ''}{expectation}")
    return "\n".join(lines)


def _list_sibling_keys(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """The known keys of the section in which `location` stands."""
    section = model
    for part in location[:-1]:
        below = section.model_fields.get(str(part))
        if below is not None:
            section = next(_find_models(below.annotation), section)
    return sorted(section.model_fields)


def _find_models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type names: itself, or below `| None`, `tuple[…]` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for below in get_args(annotation):
        yield from _find_models(below)
