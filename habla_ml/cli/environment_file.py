"""The file `.env` of a project, with secrets as environment variables.

Dagster reads this file from the folder where it starts, and takes its values in place of those of the environment. The
commands and the service read the same file, so that both have the same secrets. A variable that is set already stays,
because a person sets it for one command.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from habla_ml.errors import SettingsError
from habla_ml.settings import configs_folder

ENVIRONMENT_FILE: Final = ".env"


def load_environment_file() -> None:
    """Set the variables of the project's file that are neither set nor empty there.

    Raises `SettingsError` if the file cannot be read.
    """
    for name, value in _read(_find_file()).items():
        if value and name not in os.environ:
            os.environ[name] = value


def require_same_variables() -> None:
    """Raise `SettingsError` if the file has another value than the environment: Dagster would take that of the file.

    Its runs would then have other settings or secrets than the service, such as those of another profile.
    """
    path = _find_file()
    for name, value in _read(path).items():
        present = os.environ.get(name, value)
        # The folder is the same with a slash at its end, or by a link.
        is_same_folder = Path(value).is_absolute() and Path(value).resolve() == Path(present).resolve()
        if present != value and not is_same_folder:
            raise SettingsError(
                f"{path} sets {name} to another value than the environment or -p, and Dagster would take that of the file; "
                "remove the line, or leave the variable out"
            )


def _find_file() -> Path:
    return configs_folder().parent / ENVIRONMENT_FILE


def _read(path: Path) -> dict[str, str]:
    try:
        found = dotenv_values(path) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read ({error}); let this user read it, in UTF-8") from error
    return {name: value for name, value in found.items() if value is not None}
