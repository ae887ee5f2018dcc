"""`habla-ml doctor`: checks packages, hardware and settings, with the next step for each fault."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import typer

from habla_ml.cli.context import AsJson, print_json, print_line
from habla_ml.cli.dagster_home import (
    DAGSTER_CONFIG_FILE,
    find_outdated_keys,
    find_shipped_dagster_config,
    use_project_home,
)
from habla_ml.cli.extras import find_missing_extras, list_used_extras
from habla_ml.cli.findings import measure_subjects, print_findings, sort_by_health
from habla_ml.cli.profile_option import Profile
from habla_ml.errors import HablaError
from habla_ml.lake.factory import open_store
from habla_ml.monitoring.alerts import list_channels
from habla_ml.monitoring.finding import Finding, Health
from habla_ml.platform_support import describe_platform
from habla_ml.recordings.sessions import list_folder
from habla_ml.recordings.skipped_sessions import find_skipped_sessions
from habla_ml.settings import Settings, StoreSettings, load_settings
from habla_ml.settings.hub import HubAccess
from habla_ml.settings.models import AlertSettings

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
)
_LEAST_FREE_GB = 10


def doctor_command(
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Check what is installed, configured and missing: faults first, each with the next step.

    Exits with 1 if something is wrong.
    """
    findings = sort_by_health(run_checks(profile))
    faults = sum(each.health == "wrong" for each in findings)
    if as_json:
        print_json([asdict(each) for each in findings])
    else:
        print_findings(findings, measure_subjects(findings))
        print_line(f"\n{faults} to repair" if faults else "\nnothing to repair", "bold red" if faults else "bold green")
    if faults:
        raise typer.Exit(1)


def run_checks(profile: str | None) -> list[Finding]:
    """Check everything a deployment needs; faults are findings, not errors."""
    python = Finding("python", "ok", f"Python {sys.version.split()[0]}")
    system = Finding("system", "ok", f"{describe_platform()}; runs on Linux, macOS and WSL, not on Windows itself")
    findings = [python, system, *_check_packages(), _check_coreml_compiler(), _check_gpu()]
    try:
        settings = load_settings(profile)
    except HablaError as error:
        return [*findings, Finding("settings", "wrong", str(error), "fix the file, then run doctor again")]
    found = f"profile {settings.profile}: all keys are known and of the right type"
    return [*findings, Finding("settings", "ok", found), *_check_settings(settings)]


def _check_packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            next_step = "run `make test`, or pip install -e . in your environment"
            yield Finding(name, "wrong", "not installed", next_step)


def _check_coreml_compiler() -> Finding:
    if shutil.which("xcrun"):
        return Finding("xcrun", "ok", "Core ML archives are compiled (.mlmodelc)")
    next_step = "release from a Mac, or let the app call MLModel.compileModel(at:)"
    return Finding("xcrun", "note", "not on this machine: archives hold .mlpackage", next_step)


def _check_gpu() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("graphics card", "note", "unknown: torch is not installed")
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        found = f"{torch.cuda.get_device_name()}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        return Finding("graphics card", "ok", found)
    next_step = (
        "set training.recipe to configs/recipes/cpu-laptop.yaml; the recipes of Whisper small need a card of 8 GB"
    )
    return Finding("graphics card", "note", "none: training runs on the CPU", next_step)


def _check_settings(settings: Settings) -> Iterator[Finding]:
    used = list_used_extras(settings)
    for extra in find_missing_extras(used):
        next_step = f"run pip install 'habla-ml[{extra}]', or remove the key"
        yield Finding(used[extra], "wrong", f"needs the extra {extra}, which is not installed", next_step)
    yield _check_recordings(settings)
    yield from _list_skipped_sessions(settings)
    yield from _isolate("tables", lambda: _check_tables(settings))
    yield _check_store("lake", settings.lake)
    yield _check_store("release store", settings.release.store)
    if settings.release.public_url is None:
        next_step = "set release.public_url for the app"
        yield Finding("public URL", "note", "not set: releases name their path", next_step)
    if settings.release.hub.repository is not None:
        yield _check_hub("Hub", settings.release.hub)
    if settings.corpus.hub_dataset.repository is not None:
        yield _check_hub("dataset on the Hub", settings.corpus.hub_dataset)
    if not settings.evaluation.out_of_domain:
        next_step = "set evaluation.out_of_domain to a table of general Spanish clips"
        yield Finding("out-of-domain set", "note", "not set: forgetting is not measured", next_step)
    yield from _isolate("Label Studio", lambda: [_check_label_studio(settings)])
    if settings.consent.registry is None:
        next_step = "set consent.registry to a register (docs/consent.md)"
        yield Finding("consent", "note", "no register: all recordings count as consented", next_step)
    yield _check_alerts(settings.monitoring.alerts)
    yield from _isolate("disk", lambda: [_check_free_space(settings.work_folder)])
    use_project_home(settings)
    yield _check_dagster_home(os.environ.get("DAGSTER_HOME"), settings.command("dev"))


def _isolate(subject: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield the findings of a check; what the system refuses, such as a folder of another user, is a finding too."""
    try:
        yield from check()
    except OSError as error:
        yield Finding(subject, "wrong", f"{error.filename}: {error.strerror}", "fix its permissions")


def _check_dagster_home(home: str | None, start: str) -> Finding:
    if not home:
        next_step = f"start Dagster by `{start}`, or export DAGSTER_HOME"
        return Finding("DAGSTER_HOME", "note", "not set: runs are lost when Dagster stops", next_step)
    installed, shipped = Path(home) / DAGSTER_CONFIG_FILE, find_shipped_dagster_config()
    try:
        outdated = find_outdated_keys(installed, shipped)
    except HablaError as error:
        return Finding("DAGSTER_HOME", "wrong", str(error), f"copy {shipped} to {home}, then restart Dagster")
    if outdated:
        found = f"{installed} is older than habla_ml: {', '.join(outdated)}"
        return Finding("DAGSTER_HOME", "wrong", found, f"take these keys from {shipped}, then restart Dagster")
    return Finding("DAGSTER_HOME", "ok", home)


def _check_recordings(settings: Settings) -> Finding:
    folder, problem = settings.recordings.folder, settings.recordings.folder_problem
    if problem is not None:
        found, _, next_step = problem.partition("; ")
        return Finding("recordings", "wrong", found, next_step)
    try:
        sessions = sum(1 for each in list_folder(folder) if each.is_dir())
    except HablaError as error:
        found, _, next_step = str(error).partition("; ")
        return Finding("recordings", "wrong", found, next_step)
    limit = settings.recordings.max_recordings
    if limit and sessions > limit + 1:
        found = f"{sessions} session folders in {folder}, more than recordings.max_recordings ({limit})"
        return Finding(
            "recordings", "note", found, "set it to max_recordings of Habla, for the alert before it deletes"
        )
    next_step = "" if sessions else "record with Habla, or point recordings.folder at data/audio/recordings"
    health: Health = "ok" if sessions else "note"
    return Finding("recordings", health, f"{sessions} session folders in {folder}", next_step)


def _check_tables(settings: Settings) -> Iterator[Finding]:
    for table in settings.annotation.tables:
        if not table.exists():
            yield Finding("tables", "wrong", f"{table} does not exist", "restore it, or correct annotation.tables")


def _list_skipped_sessions(settings: Settings) -> Iterator[Finding]:
    from habla_ml.monitoring.status.input_lines import list_skipped_sessions

    if settings.recordings.folder_problem is not None:
        return
    try:
        skipped = find_skipped_sessions(settings.recordings.folder, settings, datetime.now(UTC))
    except HablaError as error:
        yield Finding("skipped sessions", "wrong", str(error), "fix its permissions")
        return
    yield from list_skipped_sessions(skipped, settings)


def _check_label_studio(settings: Settings) -> Finding:
    from habla_ml.annotation.sources.label_studio.configured_server import connect, has_server

    if not has_server(settings):
        next_step = f"run `{settings.command('label-studio', 'up')}`, or set annotation.label_studio.url"
        return Finding("Label Studio", "note", "none: corrections are read from Habla and from tables", next_step)
    try:
        with connect(settings, patience_s=0) as server:
            server.find_projects(settings.annotation.label_studio.title)
            return Finding("Label Studio", "ok", f"{server.url} answers")
    except HablaError as error:
        return Finding("Label Studio", "wrong", str(error), "start it again, or fix annotation.label_studio")


def _check_store(subject: str, where: StoreSettings) -> Finding:
    try:
        store = open_store(where)
    except HablaError as error:
        return Finding(subject, "wrong", str(error), "fix it before the first run")
    return Finding(subject, "ok", f"{store.url} is reachable and has conditional writes")


def _check_hub(subject: str, hub: HubAccess) -> Finding:
    if not os.environ.get(hub.token_variable):
        next_step = "export it where Dagster's daemon starts, then restart the daemon"
        return Finding(
            subject, "wrong", f"{hub.repository} needs {hub.token_variable}, which is not set here", next_step
        )
    return Finding(subject, "ok", f"{hub.repository}, with the token in {hub.token_variable}")


def _check_alerts(alerts: AlertSettings) -> Finding:
    channels = list_channels(alerts)
    if not channels:
        next_step = "set monitoring.alerts (docs/operate.md)"
        return Finding("alerts", "note", "none: only the UI and `status` show that the loop has stopped", next_step)
    names = [alerts.webhook_variable, alerts.email.password_variable if alerts.email and alerts.email.user else None]
    missing = [name for name in names if name is not None and not os.environ.get(name)]
    if missing:
        found = f"by {' and '.join(channels)}, but {' and '.join(missing)} is not set here"
        return Finding("alerts", "wrong", found, "export it where Dagster's daemon starts, then restart the daemon")
    return Finding("alerts", "ok", f"by {' and '.join(channels)}")


def _check_free_space(folder: Path) -> Finding:
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    found = f"{free_gb:.0f} GB free for {folder}"
    if free_gb < _LEAST_FREE_GB:
        return Finding("disk", "wrong", found, f"free some space: a whisper-small run needs {_LEAST_FREE_GB} GB")
    return Finding("disk", "ok", found)
