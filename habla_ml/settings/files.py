"""Reading settings: `configs/<profile>.yaml`, overridden by `HABLA_…` environment variables.

A variable names a key by its path, with two underscores between levels: `HABLA_RELEASE__CHANNEL=beta`. Other
variables hold credentials only, under the names that the settings or boto3 define.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from habla_ml.errors import SettingsError
from habla_ml.settings.sections import DEFAULT_PROFILE, Settings
from habla_ml.settings.yaml_files import find_models, format_validation_errors, read_mapping
from habla_ml.settings.yaml_loader import load_yaml

_VARIABLE_PREFIX = "HABLA_"
RELEASE_KEY_VARIABLE: Final = "HABLA_RELEASE_KEY"
"""A private key that signs releases, in PEM."""
ROOT_PASSPHRASE_VARIABLE: Final = "HABLA_ROOT_PASSPHRASE"  # noqa: S105 (the name of a variable)
_RESERVED_VARIABLES = {"HABLA_PROFILE", "HABLA_CONFIGS", RELEASE_KEY_VARIABLE, ROOT_PASSPHRASE_VARIABLE}
_SECRET_KEY_SUFFIX = "_variable"  # noqa: S105 (the end of a key)


def configs_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return `HABLA_CONFIGS`, or `configs/` in the working folder."""
    return Path(environment.get("HABLA_CONFIGS", "configs")).resolve()


def load_settings(profile: str | Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read a profile (its name or the path of a YAML file) and apply the environment variables.

    Raises:
        SettingsError: One line for each fault, with the file, the key and the expected value.
    """
    path, option = _find_profile(profile or environment.get("HABLA_PROFILE") or DEFAULT_PROFILE, environment)
    tree = read_mapping(path, "profile")
    if "profile" in tree:
        raise SettingsError(f"{path}: key profile: the profile is named by its file; remove the line")
    origins = _apply_environment(tree, environment)
    try:
        return Settings.model_validate(
            {"profile": path.stem, "profile_option": option, **tree}, context={"root": path.resolve().parent.parent}
        )
    except ValidationError as error:
        raise SettingsError(format_validation_errors(error, Settings, str(path), origins)) from None


def _find_profile(profile: str | Path, environment: Mapping[str, str]) -> tuple[Path, str]:
    """Return the file of a profile and the `-p` option that loads it."""
    path, folder = Path(profile), configs_folder(environment)
    if path.suffix not in {".yaml", ".yml"}:
        return folder / f"{profile}.yaml", str(profile)
    resolved = path.resolve()
    return path, resolved.stem if resolved.parent == folder else str(resolved)


def _apply_environment(tree: dict[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Write `HABLA_A__B=value` into `tree` and return the variable that set each dotted key."""
    origins = {}
    others = _RESERVED_VARIABLES | set(_find_secret_variables(tree, environment))
    for name, text in sorted(environment.items()):
        if not name.startswith(_VARIABLE_PREFIX) or name in others:
            continue
        keys = name.removeprefix(_VARIABLE_PREFIX).lower().split("__")
        node = tree
        for key in keys[:-1]:
            below = node.setdefault(key, {})
            if not isinstance(below, dict):
                raise SettingsError(
                    f"environment variable {name}: {key} is a value, not a section; correct the name of the variable"
                )
            node = below
        try:
            node[keys[-1]] = load_yaml(text)
        except yaml.YAMLError:
            raise SettingsError(
                f"environment variable {name}: its value is not YAML; put it in quotes inside the variable"
            ) from None
        origins[".".join(keys)] = f"environment variable {name}"
    return origins


def _find_secret_variables(tree: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of the variables that hold secrets: the values of the keys `…_variable`, and their defaults."""
    yield from (text for name, text in environment.items() if name.endswith(_SECRET_KEY_SUFFIX.upper()))
    yield from _list_default_variables(Settings)
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _find_secret_variables(value, {})
        elif key.endswith(_SECRET_KEY_SUFFIX) and isinstance(value, str):
            yield value


@cache
def _list_default_variables(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the default of every key `…_variable` of a section and the sections below it."""
    found: list[str] = []
    for key, field in model.model_fields.items():
        if key.endswith(_SECRET_KEY_SUFFIX) and isinstance(field.default, str):
            found.append(field.default)
        for below in find_models(field.annotation):
            found += _list_default_variables(below)
    return tuple(found)


def save_settings(settings: Settings, folder: Path) -> Path:
    """Write the resolved settings as a profile that `load_settings` reads; its folder is named by the content.

    Child processes read this file, so that they have the settings of their parent.
    """
    body = yaml.safe_dump(settings.model_dump(mode="json", exclude={"profile"}), sort_keys=True)
    path = folder / hashlib.sha256(body.encode()).hexdigest()[:16] / f"{settings.profile}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body, "utf-8")
    return path
