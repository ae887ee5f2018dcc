"""Commands about recordings and text: `import`, `export-dataset` and `conventions`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from habla_ml.api import open_deployment
from habla_ml.cli.context import print_labelled, print_line, terminal
from habla_ml.cli.dagster_home import use_project_home
from habla_ml.cli.profile_option import Profile
from habla_ml.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from habla_ml.corpus.snapshot import Snapshot
    from habla_ml.lake import Lake
    from habla_ml.settings import Settings

conventions_app = typer.Typer(no_args_is_help=True, help="The rules that turn text as typed into references.")
_MOST_SKIPPED_LINES = 20


def import_command(
    folder: Annotated[Path, typer.Argument(help="A complete folder of Habla's recordings.")],
    processes: Annotated[int, typer.Option(min=0, help="Days at the same time; 0 for one per core.")] = 0,
    on: Annotated[
        Literal["here", "ray"], typer.Option(help="Encode the audio here, or on the cluster of training.launch.ray.")
    ] = "here",
    profile: Profile = None,
) -> None:
    """Import a complete folder of recordings, many days in parallel; run it again to resume."""
    from habla_ml.recordings.bulk_import import import_with_progress

    done = import_with_progress(folder, open_deployment(profile).settings, processes, terminal, on)
    for skipped in done.skipped_sessions[:_MOST_SKIPPED_LINES]:
        print_labelled("skipped", f"{skipped.session} {skipped.reason}", style="yellow")
    for each in done.failed:
        print_labelled("failed", f"{each.day}: {each.error}", style="red")
    print_line(done.summary)
    if done.failed:
        raise typer.Exit(1)


def export_dataset_command(
    folder: Annotated[Path | None, typer.Argument(help="A folder that does not exist yet.")] = None,
    snapshot: Annotated[str | None, typer.Option(help="A snapshot's id; default the newest.")] = None,
    written_as: Annotated[
        Literal["dataset", "arrays", "folder", "parquet", "nemo"],
        typer.Option(
            "--format",
            help="A Hugging Face DatasetDict with FLAC or with arrays, an AudioFolder, parquet with FLAC, or NeMo manifests.",
        ),
    ] = "dataset",
    push: Annotated[
        bool, typer.Option("--push", help="Send it to corpus.hub_dataset.repository instead, without names.")
    ] = False,
    profile: Profile = None,
) -> None:
    """Write the open splits of a snapshot (audio and sentence) for a training script of your own."""
    from habla_ml.corpus.export import export_audio_folder, export_dataset, export_nemo, export_parquet
    from habla_ml.corpus.snapshot import OPEN_SPLITS, load_latest_snapshot, load_snapshot

    if (folder is None) is not push:
        raise InputError("give a folder to write to, or --push to send the dataset to the Hub, and not both")
    if push and written_as != "dataset":
        raise InputError(f"--push sends parquet files with a card, not --format {written_as}; leave --format out")
    context = open_deployment(profile)
    lake = context.lake
    chosen = load_snapshot(lake, snapshot) if snapshot else load_latest_snapshot(lake)
    if folder is None:
        _push_snapshot(lake, chosen, context.settings)
        return
    formats: dict[str, tuple[Callable[[Lake, Snapshot, Path], Path], str]] = {
        "dataset": (export_dataset, f"datasets.load_from_disk({str(folder)!r})"),
        "arrays": (partial(export_dataset, as_arrays=True), f"datasets.load_from_disk({str(folder)!r})"),
        "folder": (export_audio_folder, f"datasets.load_dataset('audiofolder', data_dir={str(folder)!r})"),
        "parquet": (export_parquet, f"datasets.load_dataset('parquet', data_dir={str(folder / 'data')!r})"),
        "nemo": (export_nemo, f"manifests such as {folder / 'train_manifest.json'}"),
    }
    export, usage = formats[written_as]
    export(lake, chosen, folder)
    counts = ", ".join(f"{split} {chosen.counts[split]}" for split in OPEN_SPLITS)
    print_line(f"{folder}: {counts}; open it with {usage}")


def _push_snapshot(lake: Lake, snapshot: Snapshot, settings: Settings) -> None:
    from habla_ml.consent.admission import load_consents
    from habla_ml.corpus.hub_dataset.push import open_dataset_repository, push_snapshot

    url = open_dataset_repository(settings).url
    pushed = push_snapshot(lake, snapshot, settings, load_consents(settings, datetime.now(UTC)), print_line)
    state = "pushed" if pushed.is_new else "already there"
    print_line(f"{url}: {pushed.tag} {state}, commit {pushed.commit}")


@conventions_app.command("check")
def conventions_check(path: Path) -> None:
    """Load a conventions file, which runs the test cases of its rules."""
    from habla_ml.corpus.conventions import load_conventions

    conventions = load_conventions(path)
    print_line(
        f"{conventions.name}-v{conventions.version}: the test cases of all rules pass; digest {conventions.digest}"
    )


@conventions_app.command("diff")
def conventions_diff(
    first: Annotated[Path, typer.Argument(help="The current conventions file.")],
    second: Annotated[Path, typer.Argument(help="The new conventions file.")],
    profile: Profile = None,
) -> None:
    """Show what new conventions would change in all text typed so far; reads no audio and writes nothing."""
    from habla_ml.corpus.conventions import load_conventions
    from habla_ml.corpus.conventions_diff import diff_conventions, format_diff

    context = open_deployment(profile)
    before, after = load_conventions(first), load_conventions(second)
    for line in format_diff(diff_conventions(context.lake, before, after, context.settings.corpus)):
        print_line(line)


@conventions_app.command("apply")
def conventions_apply(profile: Profile = None) -> None:
    """Rewrite the text of every stale day under the configured conventions, then score all versions again."""
    from habla_ml.definitions import build_definitions
    from habla_ml.defs.backfill import apply_conventions
    from habla_ml.defs.runs import open_dagster_instance

    context = open_deployment(profile)
    use_project_home(context.settings)
    with open_dagster_instance() as instance:
        apply_conventions(build_definitions(context.settings), instance, context.lake, context.settings, print_line)
