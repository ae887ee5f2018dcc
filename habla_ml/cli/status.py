"""`habla-ml status`: the state of the loop at a glance."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from habla_ml.api import open_deployment
from habla_ml.cli.context import AsJson, print_json, print_line
from habla_ml.cli.dagster_home import use_project_home
from habla_ml.cli.findings import measure_subjects, print_findings
from habla_ml.cli.profile_option import Profile
from habla_ml.errors import isolate
from habla_ml.settings import Settings

if TYPE_CHECKING:
    from habla_ml.monitoring.status.facts import OrchestratorFacts
    from habla_ml.monitoring.status.inputs import StatusInputs
    from habla_ml.monitoring.status.loop_status import LoopStatus


def status_command(
    profile: Profile = None,
    as_json: AsJson = False,
    metrics: Annotated[
        Path | None,
        typer.Option(help="Write metrics for Prometheus to this file, such as habla_ml.prom, and print nothing."),
    ] = None,
) -> None:
    """Show hours until the next version, what waits, what failed, what is set aside and what comes next.

    Exits with 1 if something needs a person, except with `--metrics`.
    """
    from habla_ml.lake.factory import open_lake, open_store
    from habla_ml.monitoring.status.inputs import StatusInputs
    from habla_ml.monitoring.status.loop_status import read_loop_status

    settings = open_deployment(profile).settings
    use_project_home(settings)
    now = datetime.now(UTC)
    inputs = StatusInputs(
        settings,
        now,
        lambda: open_lake(settings.lake, settings.work_folder / "cache"),
        lambda: open_store(settings.release.store),
        lambda: _read_orchestrator(settings, now),
    )
    status = read_loop_status(inputs)
    if metrics is not None:
        _write_metrics(metrics, status, inputs)
        return
    if as_json:
        print_json(status.to_json())
    else:
        _print_status(status, settings)
    if status.problems:
        raise typer.Exit(1)


def _write_metrics(path: Path, status: LoopStatus, inputs: StatusInputs) -> None:
    from habla_ml.monitoring.status.metrics import write_metrics

    facts = None
    with isolate("orchestrator", []):  # the status has a line about its fault
        facts = inputs.orchestrator
    write_metrics(path, status, facts)


def _read_orchestrator(settings: Settings, now: datetime) -> OrchestratorFacts | None:
    """Return what Dagster knows; None without DAGSTER_HOME."""
    if not os.environ.get("DAGSTER_HOME"):
        return None
    from habla_ml.definitions import build_definitions
    from habla_ml.defs.monitoring.loop_facts import read_orchestrator_facts
    from habla_ml.defs.runs import open_dagster_instance

    with open_dagster_instance() as instance:
        repository = build_definitions(settings).get_repository_def()
        return read_orchestrator_facts(instance, repository, settings, now)


def _print_status(status: LoopStatus, settings: Settings) -> None:
    taken_at = status.taken_at.astimezone(settings.zone)
    print_line(f"habla_ml, profile {status.profile}, {taken_at:%A %d %B %Y, %H:%M} ({settings.time_zone})", "dim")
    print_line(status.summary, "bold red" if status.problems else "bold green")
    width = measure_subjects(each for section in status.sections for each in section.findings)
    for section in status.sections:
        print_line("")
        print_line(section.title, "bold")
        print_findings(section.findings, width)
