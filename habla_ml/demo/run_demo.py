"""`make demo`: run a synthetic classroom through the whole loop twice, with Dagster, up to the release.

After each release a phone updates its model from the CDN. Then it sends clips and corrections through the service, for
the next version.

All output is below `var/demo`; `habla-ml dev -p demo` shows it afterwards. The sensors decide what runs. This module evaluates
them in place of the daemon.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.table import Table

from habla_ml.definitions import build_definitions
from habla_ml.defs.jobs import CORRECT, INGEST, INGEST_UPLOADS, RETRAIN, list_job_assets
from habla_ml.defs.runs import run_job, tick
from habla_ml.demo.homework import send_homework
from habla_ml.demo.lessons import PEOPLE_SEED, write_first_phase, write_second_phase
from habla_ml.demo.model_update import update_phone
from habla_ml.demo.print_run_events import print_run_events
from habla_ml.demo.service_process import run_service
from habla_ml.errors import HablaError
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.evaluation.metrics.error_rates import ORTHOGRAPHIC_WER, OUT_OF_DOMAIN_WER
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.lake.factory import open_lake, open_store
from habla_ml.project_files import find_shipped_root
from habla_ml.release.published import PublishedRelease, list_releases
from habla_ml.settings import Settings, configs_folder, load_settings


@dataclass
class DemoRun:
    """State of one demo run."""

    console: Console
    settings: Settings
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    step_seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    """By partition and step."""

    def run(self, job: str, request: dg.RunRequest) -> None:
        """Run a sensor's request and print its progress."""
        run_id, partition = str(uuid.uuid4()), str(request.partition_key)
        with print_run_events(self.instance, run_id, partition, self.console):
            done = run_job(self.definitions, self.instance, job, partition, request.tags, run_id)
        if not done.success:
            raise HablaError(f"{job} failed for {partition}; `habla-ml dev -p demo` shows the run {run_id[:8]}")
        for each in self.instance.get_run_step_stats(run_id):
            self.step_seconds[partition, each.step_key] = (each.end_time or 0) - (each.start_time or 0)

    def request_runs(self, sensor: str) -> list[dg.RunRequest]:
        """Evaluate a sensor and return its run requests; print its reason to skip."""
        found = tick(self.definitions, self.instance, sensor)
        if found.skip_reason:
            self.console.print(f"  sensor {sensor}: {found.skip_reason.skip_message}", highlight=False)
        return list(found.run_requests or ())

    def ingest(self) -> None:
        """Ingest the days that the recordings sensor requests."""
        requests = self.request_runs("new_recordings")
        self.console.print(f"  sensor new_recordings requests {len(requests)} days")
        for request in requests:
            self.run(INGEST, request)
            day = str(request.partition_key)
            seconds = self.step_seconds[day, "raw_recordings"] + self.step_seconds[day, "annotated_corpus"]
            self.console.print(f"  [cyan]{day}[/cyan] recordings and text in {seconds:.1f} s", highlight=False)

    def ingest_uploads(self) -> None:
        """Ingest the hours of received clips that a sensor requests, then the text of the days that another requests."""
        for sensor, job in (("new_uploads", INGEST_UPLOADS), ("service_corrections", CORRECT)):
            for request in self.request_runs(sensor):
                self.console.print(f"  sensor {sensor} requests [cyan]{request.partition_key}[/cyan]", highlight=False)
                self.run(job, request)

    def retrain(self) -> str:
        """Train, evaluate and release the version that the growth sensor requests; return its name."""
        requests = self.request_runs("corpus_growth")
        if not requests:
            raise HablaError(
                "sensor corpus_growth requests no version; lower automation.growth_hours in configs/demo.yaml"
            )
        version = str(requests[0].partition_key)
        self.console.print(f"  sensor corpus_growth requests [bold]{version}[/bold]")
        self.run(RETRAIN, requests[0])
        return version


def run_demo(console: Console) -> None:
    """Build the demo from nothing and print the results.

    Raises:
        HablaError: A run failed, or the working folder has no `configs/demo.yaml`.
    """
    started = time.monotonic()
    warnings.simplefilter("ignore", dg.PreviewWarning)  # Dagster warns about its own code
    root = configs_folder().parent / "var" / "demo"
    shutil.rmtree(root, ignore_errors=True)
    _print_heading(console, "A synthetic Andalusian classroom")
    with console.status("synthesising speech …"):
        sessions = write_first_phase(root)
    console.print(f"  {len(sessions)} corrected sessions, and one session for each fault of a real folder")
    settings = load_settings("demo")
    with _open_dagster_instance(root) as instance:
        run = DemoRun(console, settings, build_definitions(settings), instance)
        _print_heading(console, "First lessons → v1")
        run.ingest()
        run.retrain()
        update_model_of_phone(run, root)
        _print_heading(console, "Ten more hours (scaled down) → v2")
        with console.status("synthesising speech …"):
            more = write_second_phase(root)
        console.print(f"  {len(more)} more corrected sessions, four of them with visitors; the children are enrolled")
        run.ingest()
        newest = run.retrain()
        update_model_of_phone(run, root)
        _print_heading(console, "A pupil's phone → the service → the corpus of the next version")
        upload_homework(run, root)
    _print_summary(console, run, newest, time.monotonic() - started)


def update_model_of_phone(run: DemoRun, root: Path) -> None:
    """Let a phone install what the channel offers."""
    update = update_phone(Path(run.settings.release.store.url), root / "phone_models", run.settings.release.channel)
    if update.after == update.before:
        run.console.print(f"  a phone keeps {update.after or 'no model'}", highlight=False)
        return
    came_from = f" in place of {update.before}" if update.before else ""
    run.console.print(
        f"  a phone verifies and installs [bold]{update.after}[/bold]{came_from}: {update.received_bytes / 1e6:.1f} MB",
        highlight=False,
    )


def upload_homework(run: DemoRun, root: Path) -> None:
    """Send clips and corrections from a phone through the service, and ingest them."""
    started = time.monotonic()
    with run_service(run.settings, root / "service.log") as address:
        sent = send_homework(run.settings, address, root / "phone", PEOPLE_SEED)
    run.ingest_uploads()
    run.console.print(
        f"  {sent.clips} clips and {sent.corrections} corrections of a phone, with a consent, are in the corpus after "
        f"{time.monotonic() - started:.1f} s; the phone is offered {sent.offered_version or 'no version'}",
        highlight=False,
        soft_wrap=True,
    )


def _open_dagster_instance(root: Path) -> dg.DagsterInstance:
    """Open the Dagster home of the demo, which `habla-ml dev -p demo` shows."""
    home = root / "dagster_home"
    home.mkdir(parents=True)
    shutil.copyfile(find_shipped_root() / "dagster_home" / "dagster.yaml", home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    return dg.DagsterInstance.get()


def _print_summary(console: Console, run: DemoRun, newest: str, seconds: float) -> None:
    settings = run.settings
    comparison = read_stored_comparison(open_lake(settings.lake, settings.work_folder / "cache"), newest)
    _print_heading(console, "Results")
    console.print(_build_versions_table(comparison))
    console.print(_build_timings_table(settings, run.step_seconds))
    store = open_store(settings.release.store)
    for release in reversed(list_releases(store, settings.release.channel)):
        _print_release(console, release)
    console.print(f"report    {settings.work_folder / 'reports' / newest / 'report.html'}", soft_wrap=True)
    console.print("UI        habla-ml dev -p demo, then open http://localhost:3000")
    console.print(f"total     {seconds:.0f} s")


def _build_versions_table(comparison: Comparison) -> Table:
    table = Table("model", "WER % (95 %)", "quiet", "general Spanish", "as written", title="Versions on one test set")
    quiet = next((each for each in comparison.slices if each.name.startswith("quiet")), None)
    quiet_rates = {each.model: each.rate.interval for each in quiet.rates} if quiet else {}
    for model in comparison.models:
        table.add_row(
            model.name,
            _format_interval(model.wer.interval),
            _format_interval(quiet_rates.get(model.name)),
            _format_interval(model.metrics.get(OUT_OF_DOMAIN_WER.name)),
            _format_interval(model.metrics.get(ORTHOGRAPHIC_WER.name)),
        )
    test = comparison.test
    table.caption = f"{test.utterances} segments of {test.sessions} held-out sessions, {test.words} words, as served"
    return table


def _format_interval(rate: Interval | None) -> str:
    if rate is None:
        return "–"
    return f"{100 * rate.value:.1f} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def _build_timings_table(settings: Settings, step_seconds: Mapping[tuple[str, str], float]) -> Table:
    versions = sorted({name for name, _ in step_seconds if name.startswith("v")})
    table = Table("step", *versions, title="Seconds per step")
    for step in list_job_assets(RETRAIN, settings):
        table.add_row(step, *(f"{step_seconds[version, step]:.1f}" for version in versions))
    ingest = sum(seconds for (name, _), seconds in step_seconds.items() if name not in versions)
    table.caption = f"recordings and text of all days: {ingest:.1f} s"
    return table


def _print_release(console: Console, release: PublishedRelease) -> None:
    mark = "[green]current[/green]" if release.is_current else "earlier"
    console.print(f"release   {release.version} ({mark}) {release.locations['habla']}", highlight=False, soft_wrap=True)


def _print_heading(console: Console, text: str) -> None:
    console.rule(f"[bold]{text}[/bold]", align="left")
