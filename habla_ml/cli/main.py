"""`habla-ml`: what a person does from a terminal; everything else happens in the Dagster UI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from habla_ml.cli.consent import erase_command
from habla_ml.cli.engines import install_whisperx_command
from habla_ml.cli.label_studio import label_studio_app
from habla_ml.cli.models import advise_command, compare_command, override_command, replicate_command
from habla_ml.cli.transcribe import transcribe_command
from habla_ml.errors import HablaError
from habla_ml.lake import Lake
from habla_ml.settings import Settings, load_settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None
)
conventions_app = typer.Typer(no_args_is_help=True, help="The rules that turn text as typed into references.")
app.add_typer(conventions_app, name="conventions")
app.add_typer(label_studio_app, name="label-studio")
app.command("erase")(erase_command)
app.command("install-whisperx")(install_whisperx_command)
app.command("compare")(compare_command)
app.command("override")(override_command)
app.command("advise")(advise_command)
app.command("repeat")(replicate_command)
app.command("transcribe")(transcribe_command)

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
    from habla_ml.cli.doctor import examine

    colours = {"ok": "green", "note": "yellow", "wrong": "red"}
    table = Table("", "subject", "found", "next step")
    findings = examine(profile)
    for each in findings:
        mark = f"[{colours[each.health]}]{each.health}[/]"
        table.add_row(mark, each.subject, each.found, each.next_step)
    console.print(table)
    if any(each.health == "wrong" for each in findings):
        raise typer.Exit(1)


@app.command("import")
def import_command(
    folder: Annotated[Path, typer.Argument(help="A whole tree of Habla's recordings.")],
    processes: Annotated[int, typer.Option(min=0, help="How many days at once; 0 is one a core.")] = 0,
    profile: Profile = None,
) -> None:
    """Bring a whole folder of recordings into the lake, many days at once; run it again to go on."""
    from habla_ml.recordings.bulk_import import import_with_progress

    done = import_with_progress(folder, load_settings(profile), processes, console)
    for each in done.failed:
        console.print(f"[red]failed[/] {each.day}: {each.error}", highlight=False)
    console.print(done.summary, soft_wrap=True)
    if done.failed:
        raise typer.Exit(1)


@app.command("export-dataset")
def export_dataset_command(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    snapshot: Annotated[str | None, typer.Option(help="A snapshot's id; default the newest.")] = None,
    written_as: Annotated[
        Literal["dataset", "parquet", "nemo"],
        typer.Option("--format", help="A Hugging Face DatasetDict, parquet with FLAC bytes, or NeMo manifests."),
    ] = "dataset",
    profile: Profile = None,
) -> None:
    """Write a snapshot (train, validation, test; audio, sentence) for a training script of your own."""
    from habla_ml.corpus.export import export_dataset, export_nemo, export_parquet
    from habla_ml.corpus.snapshot import load_latest_snapshot, load_snapshot

    lake = _open_lake(load_settings(profile))
    chosen = load_snapshot(lake, snapshot) if snapshot else load_latest_snapshot(lake)
    export = {"dataset": export_dataset, "parquet": export_parquet, "nemo": export_nemo}[written_as]
    export(lake, chosen, folder)
    counts = ", ".join(f"{split} {chosen.counts[split]}" for split in chosen.counts)
    opened = {
        "dataset": f"datasets.load_from_disk({str(folder)!r})",
        "parquet": f"datasets.load_dataset('parquet', data_dir={str(folder / 'data')!r})",
        "nemo": f"manifests such as {folder / 'train_manifest.json'}",
    }[written_as]
    console.print(f"{folder}: {counts}; open it with {opened}", soft_wrap=True)


@app.command()
def review(
    most: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 40,
    profile: Profile = None,
) -> None:
    """Show the review queue: which segments a person should look at next, and why each is there."""
    from rich.markup import escape

    from habla_ml.annotation.review_queue import load_queue

    queue = load_queue(_open_lake(load_settings(profile)))
    if queue is None:
        console.print("there is no review queue yet; materialise `review_queue`, or wait for its weekly schedule")
        return
    table = Table("segment", "speaker", "hint", "why", "seconds")
    for each in queue.items[:most]:
        why = "\n".join(each.reasons)
        table.add_row(each.segment_id[:8], *map(escape, (each.speaker, each.hint, why)), f"{each.duration_s:.1f}")
    console.print(table)
    chance = sum(each.is_random for each in queue.items)
    console.print(
        f"{min(most, len(queue.items))} of {len(queue.items)} segments, {queue.minutes:.1f} minutes, "
        f"{chance} drawn at random; chosen on {queue.made_at:%Y-%m-%d %H:%M} UTC"
    )


@app.command()
def releases(profile: Profile = None, channel: str | None = None) -> None:
    """List the releases of a channel, newest first, and where its pointer stands."""
    from habla_ml.lake.factory import open_store
    from habla_ml.release.publish import list_releases

    settings = load_settings(profile)
    table = Table("", "version", "model", "released", Column("url", overflow="fold"))
    for each in list_releases(open_store(settings.release.store), channel or settings.release.channel):
        table.add_row("→" if each.is_current else "", each.version, each.model_version, each.released_at, each.url)
    console.print(table)


@app.command()
def rollback(
    to: Annotated[str | None, typer.Option(help="A released version; default the one before.")] = None,
    profile: Profile = None,
    channel: str | None = None,
) -> None:
    """Move a channel's pointer back to an earlier release."""
    from habla_ml.lake.factory import open_store
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


@conventions_app.command("diff")
def conventions_diff(
    first: Annotated[Path, typer.Argument(help="The conventions file the corpus stands under.")],
    second: Annotated[Path, typer.Argument(help="The one to change to.")],
    profile: Profile = None,
) -> None:
    """Say what changed conventions would do to everything typed so far; reads no audio and writes nothing."""
    from habla_ml.corpus.conventions import load_conventions
    from habla_ml.corpus.conventions_diff import diff_conventions, format_diff

    settings = load_settings(profile)
    before, after = load_conventions(first), load_conventions(second)
    for line in format_diff(diff_conventions(_open_lake(settings), before, after, settings.corpus)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@conventions_app.command("apply")
def conventions_apply(profile: Profile = None) -> None:
    """Rewrite the text of every stale day under the configured conventions, then score all versions again."""
    from habla_ml.definitions import build_definitions
    from habla_ml.defs.backfill import apply_conventions
    from habla_ml.defs.runs import open_dagster_instance

    settings = load_settings(profile)
    with open_dagster_instance() as instance:
        apply_conventions(build_definitions(settings), instance, _open_lake(settings), settings, console.print)


@app.command()
def demo() -> None:
    """Synthesise a classroom and walk the whole loop through Dagster, twice."""
    from habla_ml.demo.run_demo import run_demo

    run_demo(console)


def _open_lake(settings: Settings) -> Lake:
    from habla_ml.lake.factory import open_lake

    return open_lake(settings.lake, settings.work_folder / "cache")
