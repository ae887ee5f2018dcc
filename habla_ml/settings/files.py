"""Where settings come from: `configs/<profile>.yaml`, then `HABLA_…` environment variables.

An environment variable names a key by its path, two underscores between levels: `HABLA_RELEASE__CHANNEL=beta`.
Nothing else in the project reads the environment, except credentials, which boto3 finds by itself and the one token
whose variable the settings name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from habla_ml.errors import SettingsError
from habla_ml.settings.sections import Settings

_PREFIX = "HABLA_"
_NOT_KEYS = {"HABLA_PROFILE", "HABLA_CONFIGS"}


def configs_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """`HABLA_CONFIGS`, or `configs/` below the working folder."""
    return Path(environment.get("HABLA_CONFIGS", "configs")).resolve()


def load_settings(profile: str | Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read a profile (its name, or a path to a YAML file) and overlay the environment.

    Raises `SettingsError` that names the file, the key and what was expected, for every fault at once.
    """
    chosen = profile or environment.get("HABLA_PROFILE", "local")
    path = Path(chosen)
    if path.suffix not in {".yaml", ".yml"}:
        path = configs_folder(environment) / f"{chosen}.yaml"
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        known = sorted(each.stem for each in path.parent.glob("*.yaml"))
        raise SettingsError(f"{path} does not exist; profiles found beside it: {known or 'none'}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict):
        raise SettingsError(f"{path} holds {type(tree).__name__}, expected keys and values")
    if "profile" in tree:
        raise SettingsError(f"{path}: key profile: is the file's own name; remove the line")
    origins = _overlay(tree, environment)
    try:
        return Settings.model_validate(
            {"profile": path.stem, **tree}, context={"root": path.resolve().parent.parent}
        )
    except ValidationError as error:
        raise SettingsError(_explain(error, path, origins)) from None


def _overlay(tree: dict[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Write `HABLA_A__B=value` into `tree`; returns which variable set which dotted key."""
    origins = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(_PREFIX) or name in _NOT_KEYS:
            continue
        keys = name.removeprefix(_PREFIX).lower().split("__")
        node = tree
        for key in keys[:-1]:
            below = node.setdefault(key, {})
            if not isinstance(below, dict):
                raise SettingsError(f"environment variable {name}: {key} is a value, not a section")
            node = below
        node[keys[-1]] = yaml.safe_load(text)
        origins[".".join(keys)] = name
    return origins


def _explain(error: ValidationError, path: Path, origins: Mapping[str, str]) -> str:
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        where = f"environment variable {origins[key]}" if key in origins else str(path)
        if fault["type"] == "extra_forbidden":
            expectation = f"is unknown; keys here are {', '.join(_keys_beside(fault['loc']))}"
        elif fault["type"] == "missing":
            expectation = "is missing and has no default"
        else:
            expectation = f"is {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}"
        lines.append(f"{where}: key {key}: {expectation}")
    return "\n".join(lines)


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The known keys of the section in which `location` stands."""
    section: type[BaseModel] = Settings
    for part in (each for each in location[:-1] if isinstance(each, str)):
        below = section.model_fields[part].annotation
        if get_origin(below) is tuple:
            below = get_args(below)[0]
        if not (isinstance(below, type) and issubclass(below, BaseModel)):
            break
        section = below
    return sorted(section.model_fields)


def save_settings(settings: Settings, folder: Path) -> Path:
    """Write the resolved tree as a profile file that `load_settings` reads back; named by its content.

    Child processes are given this file, so that they see exactly what their parent saw.
    """
    body = yaml.safe_dump(settings.model_dump(mode="json", exclude={"profile"}), sort_keys=True)
    path = folder / hashlib.sha256(body.encode()).hexdigest()[:16] / f"{settings.profile}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body, "utf-8")
    return path
