"""A training as a job of a Ray cluster: what its Jobs API gets.

The job is `habla_ml.training.launch.ray_cluster`. Settings and recipe travel with it as files. Credentials do not: they
are in the environment of the cluster's machines.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from habla_ml.errors import SettingsError
from habla_ml.settings import Settings

MODULE: Final = "habla_ml.training.launch.ray_cluster"
VERSION_KEY: Final = "habla_ml/version"
LAKE_KEY: Final = "habla_ml/lake"
_FILE_OPTIONS: Final = ("--settings", "--recipe")


@dataclass(frozen=True)
class RayJob:
    """One job: a shell command, the environment that Ray makes for it, and labels to find it by."""

    entrypoint: str
    runtime_env: dict[str, Any]
    metadata: dict[str, str]


def build_job(settings: Settings, words: Sequence[str]) -> RayJob:
    """Return the job of a training with the options `words` of `python -m habla_ml.training`.

    Copies the files that the options name to `ray_jobs` in the work folder; the folder's name is their digest.

    Raises:
        SettingsError: `training.launch.ray.runtime_env` has a working folder of its own.
    """
    launch = settings.training.launch
    runtime_env = deepcopy(launch.ray.runtime_env)  # dagster-ray adds variables to it
    if "working_dir" in runtime_env:
        raise SettingsError(
            f"training.launch.ray.runtime_env has working_dir {runtime_env['working_dir']!r}, but the job's settings are "
            "its working folder; remove the key"
        )
    version = dict(pairwise(words)).get("--version", "an estimate")
    folder, packed = _pack_files(list(words), settings.work_folder / "ray_jobs")
    command = ["python", "-m", MODULE, "--processes", str(launch.processes), *packed]
    return RayJob(
        entrypoint=f"exec {shlex.join(command)}",  # so that the exit code of a killed program is a signal
        runtime_env=runtime_env | {"working_dir": str(folder)},
        metadata={LAKE_KEY: settings.lake.url, VERSION_KEY: version},
    )


def build_submit_command(settings: Settings, words: Sequence[str]) -> list[str]:
    """Return Ray's own command that submits the job of a training and prints its log until it ends."""
    job = build_job(settings, words)
    runtime_env = dict(job.runtime_env)
    options = {
        "--address": settings.training.launch.ray.address,
        "--working-dir": runtime_env.pop("working_dir"),
        "--runtime-env-json": json.dumps(runtime_env),
        "--metadata-json": json.dumps(job.metadata),
    }
    named = [word for option in options.items() for word in option]
    return [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", *named, "--", *shlex.split(job.entrypoint)]


def _pack_files(words: list[str], parent: Path) -> tuple[Path, list[str]]:
    """Return a folder with copies of the files among the options, and the options with the names in that folder."""
    files = {n: Path(words[n]) for n in range(1, len(words)) if words[n - 1] in _FILE_OPTIONS}
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in files.values())).hexdigest()
    folder = parent / digest[:16]
    for number, path in files.items():
        # load_settings takes the folder above that of a profile as the root of the paths in it.
        name = f"{words[number - 1].removeprefix('--')}/{path.name}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
        words[number] = name
    return folder, words
