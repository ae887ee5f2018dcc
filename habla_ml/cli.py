"""`habla-ml`: what a person does from a terminal; everything else happens in the Dagster UI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from habla_ml.errors import HablaError
from habla_ml.lake import Lake
from habla_ml.settings import Settings, load_settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None
)
conventions_app = typer.Typer(no_args_is_help=True, help="The rules that turn text as typed into references.")
app.add_typer(conventions_app, name="conventions")

Profile = Annotated[
    str | None,
    typer.Option("--profile", "-p", help="A profile below configs/, or a YAML file; default HABLA_PROFILE."),
]
console = Console()


def main() -> None:
    """Entry point: refusals print their message and exit with 1, without a traceback."""
    try:
        app()
    except HablaError as error:
        Console(stderr=True).print(
            f"[red]error[/red] {type(error).__name__}: {error}", highlight=False, markup=True
        )
        sys.exit(1)


@app.command()
def doctor(profile: Profile = None) -> None:
    """Say what is installed, configured and missing, and what to do about it."""
    from habla_ml.doctor import examine

    colours = {"ok": "green", "note": "yellow", "wrong": "red"}
    table = Table("", "subject", "found", "next step")
    findings = examine(profile)
    for each in findings:
        mark = f"[{colours[each.health]}]{each.health}[/]"
        table.add_row(mark, each.subject, each.found, each.next_step)
    console.print(table)
    if any(each.health == "wrong" for each in findings):
        raise typer.Exit(1)


@app.command("export-dataset")
def export_dataset_command(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    snapshot: Annotated[str | None, typer.Option(help="A snapshot's id; default the newest.")] = None,
    profile: Profile = None,
) -> None:
    """Write a snapshot as a Hugging Face DatasetDict (train, validation, test; audio, sentence)."""
    from habla_ml.corpus.export import export_dataset
    from habla_ml.corpus.snapshot import latest_snapshot, load_snapshot

    lake = _lake(load_settings(profile))
    chosen = load_snapshot(lake, snapshot) if snapshot else latest_snapshot(lake)
    export_dataset(lake, chosen, folder)
    counts = ", ".join(f"{split} {chosen.counts[split]}" for split in chosen.counts)
    console.print(f"{folder}: {counts}; open it with datasets.load_from_disk({str(folder)!r})")


@app.command()
def releases(profile: Profile = None, channel: str | None = None) -> None:
    """List the releases of a channel, newest first, and where its pointer stands."""
    from habla_ml.lake.open import open_store
    from habla_ml.release.publish import list_releases

    settings = load_settings(profile)
    table = Table("", "version", "model", "released", "url")
    for each in list_releases(open_store(settings.release.store), channel or settings.release.channel):
        table.add_row("→" if each.current else "", each.version, each.model_version, each.released_at, each.url)
    console.print(table)


@app.command()
def rollback(
    to: Annotated[str | None, typer.Option(help="A released version; default the one before.")] = None,
    profile: Profile = None,
    channel: str | None = None,
) -> None:
    """Move a channel's pointer back to an earlier release."""
    from habla_ml.lake.open import open_store
    from habla_ml.release.publish import rollback as move_back

    settings = load_settings(profile)
    moved = move_back(open_store(settings.release.store), channel or settings.release.channel, to)
    console.print(f"{channel or settings.release.channel} now points to {moved.version}: {moved.url}")


@conventions_app.command("check")
def conventions_check(path: Path) -> None:
    """Load a conventions file, which runs the test cases beside its rules."""
    from habla_ml.corpus.conventions import load_conventions

    conventions = load_conventions(path)
    console.print(
        f"{conventions.name}-v{conventions.version}: every rule's cases hold; digest {conventions.digest}"
    )


@conventions_app.command("apply")
def conventions_apply(profile: Profile = None) -> None:
    """Rewrite the text of every stale day under the configured conventions, then score all versions again."""
    from habla_ml.definitions import build_definitions
    from habla_ml.defs.backfill import apply_conventions
    from habla_ml.defs.runs import deployed_instance

    settings = load_settings(profile)
    with deployed_instance() as instance:
        apply_conventions(build_definitions(settings), instance, _lake(settings), settings, console.print)


@app.command()
def demo() -> None:
    """Synthesise a classroom and walk the whole loop through Dagster, twice."""
    from habla_ml.demo.walk import walk

    walk(console)


def _lake(settings: Settings) -> Lake:
    from habla_ml.lake.open import open_lake

    return open_lake(settings.lake, settings.work_folder / "cache")
