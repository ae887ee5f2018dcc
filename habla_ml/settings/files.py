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
from typing import Any

import yaml
from pydantic import ValidationError

from habla_ml.errors import SettingsError
from habla_ml.settings.sections import Settings
from habla_ml.settings.yaml_files import format_validation_errors, read_mapping

_VARIABLE_PREFIX = "HABLA_"
_RESERVED_VARIABLES = {"HABLA_PROFILE", "HABLA_CONFIGS"}


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
    tree = read_mapping(path, "profile")
    if "profile" in tree:
        raise SettingsError(f"{path}: key profile: is the file's own name; remove the line")
    origins = _apply_environment(tree, environment)
    try:
        return Settings.model_validate(
            {"profile": path.stem, **tree}, context={"root": path.resolve().parent.parent}
        )
    except ValidationError as error:
        raise SettingsError(format_validation_errors(error, Settings, str(path), origins)) from None


def _apply_environment(tree: dict[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Write `HABLA_A__B=value` into `tree`; returns dotted key → the variable that set it."""
    origins = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(_VARIABLE_PREFIX) or name in _RESERVED_VARIABLES:
            continue
        keys = name.removeprefix(_VARIABLE_PREFIX).lower().split("__")
        node = tree
        for key in keys[:-1]:
            below = node.setdefault(key, {})
            if not isinstance(below, dict):
                raise SettingsError(f"environment variable {name}: {key} is a value, not a section")
            node = below
        node[keys[-1]] = yaml.safe_load(text)
        origins[".".join(keys)] = f"environment variable {name}"
    return origins


def save_settings(settings: Settings, folder: Path) -> Path:
    """Write the resolved tree as a profile file that `load_settings` reads back; named by its content.

    Child processes are given this file, so that they see exactly what their parent saw.
    """
    body = yaml.safe_dump(settings.model_dump(mode="json", exclude={"profile"}), sort_keys=True)
    path = folder / hashlib.sha256(body.encode()).hexdigest()[:16] / f"{settings.profile}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body, "utf-8")
    return path
