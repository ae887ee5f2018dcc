"""The DAGSTER_HOME of a project, and the comparison of its `dagster.yaml` with the one that this version is shipped with.

`habla-ml dev` copies the file once and never replaces it, because people change it. An update of habla_ml can need new keys.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from habla_ml.project_files import find_shipped_root
from habla_ml.settings import Settings, configs_folder
from habla_ml.settings.yaml_files import read_mapping

DAGSTER_CONFIG_FILE: Final = "dagster.yaml"
DEMO_PROFILE: Final = "demo"
_NEEDED_SECTIONS: Final = ("concurrency", "run_launcher", "run_monitoring", "run_retries", "freshness", "scheduler")
_NEEDED_VALUES: Final = frozenset(
    {"run_launcher.module", "run_launcher.class", "run_monitoring.enabled", "run_retries.enabled", "freshness.enabled"}
)
"""Keys whose value must be as shipped; of the other keys a person may choose the value."""


def find_dagster_home(settings: Settings) -> Path:
    """Return the home that `habla-ml dev` uses: the demo's own, or `DAGSTER_HOME`, or `dagster_home` in the project."""
    root = configs_folder().parent
    if settings.profile == DEMO_PROFILE:
        return root / "var" / "demo" / "dagster_home"
    return Path(os.environ.get("DAGSTER_HOME") or root / "dagster_home").resolve()


def use_project_home(settings: Settings) -> None:
    """Set DAGSTER_HOME to the home of the profile's project, unless the variable exists or the project has no home."""
    if "DAGSTER_HOME" in os.environ or not (configs_folder() / f"{settings.profile_option}.yaml").is_file():
        return
    home = find_dagster_home(settings)
    if (home / DAGSTER_CONFIG_FILE).is_file():
        os.environ["DAGSTER_HOME"] = str(home)


def find_shipped_dagster_config() -> Path:
    """Return the shipped file."""
    return find_shipped_root() / "dagster_home" / DAGSTER_CONFIG_FILE


def find_outdated_keys(installed: Path, shipped: Path) -> list[str]:
    """Return the keys that the installed file lacks, or has with a value that this version cannot work with.

    A launcher of another kind (Kubernetes, Ray) is a person's choice and no difference. Raises `SettingsError` if a file
    cannot be read.
    """
    present = dict(_list_leaves(read_mapping(installed, "Dagster configuration")))
    has_own_launcher = "run_launcher" in {key.partition(".")[0] for key in present}
    outdated = []
    for key, value in _list_leaves(read_mapping(shipped, "Dagster configuration")):
        section = key.partition(".")[0]
        if section not in _NEEDED_SECTIONS or (section == "run_launcher" and has_own_launcher):
            continue
        if key not in present or (key in _NEEDED_VALUES and present[key] != value):
            outdated.append(key)
    return outdated


def _list_leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _list_leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
