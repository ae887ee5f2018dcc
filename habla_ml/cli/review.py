"""`habla-ml review`: which segments to annotate next, and where to find them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from habla_ml.api import open_deployment
from habla_ml.cli.context import error_terminal, print_json, print_line, print_rich_table
from habla_ml.cli.profile_option import Profile
from habla_ml.errors import CorpusError, InputError

if TYPE_CHECKING:
    from habla_ml.annotation.review_queue import ReviewQueue
    from habla_ml.api import Deployment
    from habla_ml.review.listing import ListedSegment
    from habla_ml.settings import Settings


def review_command(
    most: Annotated[int, typer.Option(min=1, help="Segments to show.")] = 40,
    language: Annotated[Literal["en", "es"], typer.Option(help="Of the reasons.")] = "en",
    as_json: Annotated[bool, typer.Option("--json", help="Print all segments as JSON for programs.")] = False,
    export: Annotated[
        Path | None, typer.Option(help="Write all segments to a new file: a table (.csv) or a playlist (.m3u).")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Write tables with clips to this folder instead.")] = None,
    person: Annotated[list[str] | None, typer.Option(help="Who gets a table; repeat it for a second person.")] = None,
    choose: Annotated[
        bool, typer.Option("--choose", help="Choose new segments now, as the weekly schedule does.")
    ] = False,
    profile: Profile = None,
) -> None:
    """Show the review queue: which segments to annotate next, where they are, and why; or write it to fill in.

    Example: habla-ml review --export queue.m3u
    """
    from habla_ml.annotation.review_queue import load_queue
    from habla_ml.annotation.sources.tables.review_table import write_review_tables
    from habla_ml.review.listing import list_segments
    from habla_ml.service.pages.clip_words import describe_reason

    if sum((as_json, export is not None, write is not None)) > 1:
        raise InputError("--json, --export and --write are three outputs; give one of them")
    if person and write is None:
        raise InputError("--person names who gets a table; give its folder with --write")
    deployment = open_deployment(profile)
    lake, settings = deployment.lake, deployment.settings
    if choose:
        _choose(deployment)
    queue = load_queue(lake)
    if queue is None:
        missing = f"there is no review queue yet; run `{settings.command('review', '--choose')}`, or wait for its weekly schedule"
        if write is not None or export is not None:
            raise CorpusError(missing)
        print_json([]) if as_json else print_line(missing)
        return
    if write is not None:
        for name, rows in write_review_tables(lake, queue.items, person or ["1"], write).items():
            print_line(f"{write / name}: {rows} rows; fill in the transcripts and add the folder to annotation.tables")
        return
    is_whole = as_json or export is not None
    items = queue.items if is_whole else queue.items[:most]
    segments = list_segments(lake, items, settings.recordings.folder, lambda each: describe_reason(each, language))
    if as_json:
        print_json([asdict(each) for each in segments])
    elif export is not None:
        _export(segments, export)
    else:
        _print_queue(segments, queue, settings, f"{settings.service.address}/correct")


def _choose(deployment: Deployment) -> None:
    from habla_ml.review.queue import find_segments_to_send_back, make_queue

    lake = deployment.lake
    sent_back = find_segments_to_send_back(lake)
    # Programs read the queue from the standard output.
    log = partial(error_terminal.print, style="dim")
    make_queue(lake, deployment.release_store, deployment.settings, datetime.now(UTC), log, sent_back)


def _export(segments: list[ListedSegment], target: Path) -> None:
    from habla_ml.delimited.spreadsheet import ENCODING
    from habla_ml.review.listing import format_csv, format_playlist

    formats = {
        ".csv": (format_csv, ENCODING),
        ".m3u": (format_playlist, "utf-8"),
        ".m3u8": (format_playlist, "utf-8"),
    }
    if (found := formats.get(target.suffix.lower())) is None:
        raise InputError(f"{target} has no known ending; end it with one of {', '.join(formats)}")
    if target.exists():
        raise InputError(f"{target} exists already and is not overwritten; give a new name")
    make, encoding = found
    target.write_text(make(segments), encoding)
    there = sum(bool(each.path) for each in segments)
    print_line(f"{target}: {len(segments)} segments, {there} of them in Habla's folder")


def _print_queue(segments: list[ListedSegment], queue: ReviewQueue, settings: Settings, page: str) -> None:
    table = Table("session and file", "s", "speaker", "text", "why", box=None, padding=(0, 2, 0, 0))
    for each in segments:
        people = {0: "", 1: "(type what you hear)", 2: "(two people type what they hear)"}[each.people]
        place = f"{each.session}\n{each.file}"
        table.add_row(place, f"{each.seconds:.1f}", each.speaker, people or each.text, "\n".join(each.why))
    print_rich_table(table)
    print_line(
        f"{len(segments)} of {len(queue.items)} segments; the whole queue has {queue.minutes:.1f} minutes, "
        f"{sum(each.is_random for each in queue.items)} drawn at random, {sum(each.is_blind for each in queue.items)} of "
        f"them blind; chosen on {settings.format_minute(queue.made_at)}"
    )
    if queue.items:
        print_line(f"play and correct them at {page}")
    else:
        print_line(
            f"the lake has no segment without a text; `{settings.command('status')}` shows what waits to be read"
        )
