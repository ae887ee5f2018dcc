"""`habla-ml doctor`: what is installed, what is configured, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from habla_ml.errors import HablaError
from habla_ml.lake.open import open_store
from habla_ml.settings import Settings, StoreSettings, load_settings

Health = Literal["ok", "note", "wrong"]
PACKAGES = (
    "dagster",
    "dagster-webserver",
    "dagster-aws",
    "torch",
    "transformers",
    "datasets",
    "evaluate",
    "jiwer",
    "peft",
    "coremltools",
    "huggingface_hub",
    "pandas",
    "ctranslate2",
    "faster-whisper",
    "espeakng-loader",
)
_LEAST_FREE_GB = 10


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    health: Health
    found: str
    next_step: str = ""


def examine(profile: str | None) -> list[Finding]:
    """Look at everything a deployment needs; never raises for what it finds wrong."""
    findings = [_python(), *_packages(), _compiler(), _graphics_card()]
    try:
        settings = load_settings(profile)
    except HablaError as error:
        return [*findings, Finding("settings", "wrong", str(error), "mend the file, then run doctor again")]
    findings.append(Finding("settings", "ok", f"profile {settings.profile}, all keys known and of the right type"))
    return [*findings, *_configured(settings)]


def _python() -> Finding:
    return Finding("python", "ok", f"Python {sys.version.split()[0]}")


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(
                name, "wrong", "not installed", "run `make test`, or pip install -e . in your environment"
            )


def _compiler() -> Finding:
    if shutil.which("xcrun"):
        return Finding("xcrun", "ok", "Core ML archives are compiled (.mlmodelc)")
    return Finding(
        "xcrun",
        "note",
        "not on this machine: archives hold .mlpackage",
        "release from a Mac, or let the app call MLModel.compileModel(at:)",
    )


def _graphics_card() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("graphics card", "note", "unknown: torch is not installed")
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        found = f"{torch.cuda.get_device_name()}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        return Finding("graphics card", "ok", found)
    return Finding(
        "graphics card",
        "note",
        "none: training runs on the CPU",
        "fine for the demo; whisper-small wants 8 GB or more",
    )


def _configured(settings: Settings) -> Iterator[Finding]:
    sessions = sum(1 for each in settings.recordings.folder.iterdir() if each.is_dir())
    yield Finding(
        "recordings",
        "ok" if sessions else "note",
        f"{sessions} session folders in {settings.recordings.folder}",
        "" if sessions else "record with Habla, or point recordings.folder at data/audio/recordings",
    )
    yield _store("lake", settings.lake)
    yield _store("release store", settings.release.store)
    if settings.release.public_url is None:
        yield Finding(
            "public URL", "note", "not set: releases name their path", "set release.public_url for the app"
        )
    if not settings.evaluation.out_of_domain:
        yield Finding(
            "out-of-domain set",
            "note",
            "not set: forgetting is not measured",
            "set evaluation.out_of_domain to a table of general Spanish clips",
        )
    yield _label_studio(settings)
    if settings.consent.registry is None:
        yield Finding(
            "consent",
            "note",
            "no register: every voice is taken as agreed to",
            "name one in consent.registry (docs/consent.md)",
        )
    yield _disk(settings.work_folder)
    home = os.environ.get("DAGSTER_HOME")
    yield Finding(
        "DAGSTER_HOME",
        "ok" if home else "note",
        home or "not set: runs are forgotten when Dagster stops",
        "" if home else "start Dagster by `make dev`, or export DAGSTER_HOME",
    )


def _label_studio(settings: Settings) -> Finding:
    from habla_ml.annotation.label_studio import connect, has_server

    if not has_server(settings):
        return Finding(
            "Label Studio",
            "note",
            "none: corrections come from Habla and from tables",
            "run `habla-ml label-studio up`, or name a server in annotation.label_studio.url",
        )
    try:
        with connect(settings, patience_s=0) as server:
            server.projects(settings.annotation.label_studio.title)
            return Finding("Label Studio", "ok", f"{server.url} answers")
    except HablaError as error:
        return Finding("Label Studio", "wrong", str(error), "start it again, or mend annotation.label_studio")


def _store(subject: str, where: StoreSettings) -> Finding:
    try:
        store = open_store(where)
    except HablaError as error:
        return Finding(subject, "wrong", str(error), "mend it before the first run")
    return Finding(subject, "ok", f"{store.url} answers and writes conditionally")


def _disk(folder: Path) -> Finding:
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    found = f"{free_gb:.0f} GB free for {folder}"
    if free_gb < _LEAST_FREE_GB:
        return Finding("disk", "wrong", found, f"free some: a whisper-small run wants {_LEAST_FREE_GB} GB")
    return Finding("disk", "ok", found)
