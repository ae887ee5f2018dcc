"""`habla-ml transcribe`: write transcripts and subtitles of audio files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from habla_ml.api import open_deployment, transcribe
from habla_ml.cli.context import error_terminal, print_line
from habla_ml.cli.profile_option import Profile
from habla_ml.errors import InputError
from habla_ml.transcription.transcript_formats import TranscriptFormat, format_transcript

if TYPE_CHECKING:
    from habla_ml.transcription.transcript import Document


def transcribe_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Audio: WAV, FLAC, m4a, MP3, Ogg, WebM.")],
    model: Annotated[
        str | None, typer.Option(help="A version, `base` or a folder, as in `compare`; default the released model.")
    ] = None,
    written_as: Annotated[
        TranscriptFormat, typer.Option("--format", help="Everything, subtitles (srt, vtt) or plain text.")
    ] = "json",
    output: Annotated[Path, typer.Option(help="The folder of the transcripts.")] = Path(),
    speaker: Annotated[str | None, typer.Option(help="The speaker's name, if one person speaks.")] = None,
    word_times: Annotated[bool, typer.Option(help="Give words start and end times; takes longer.")] = True,
    profile: Profile = None,
) -> None:
    """Transcribe audio files with the released model, or with another one."""
    deployment = open_deployment(profile)
    targets = _choose_targets(files, output, written_as)
    failed = 0
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_terminal, transient=True, disable=not error_terminal.is_terminal) as bar:
        task = bar.add_task("", total=len(files))

        def report_progress(done: float) -> None:
            name = files[min(int(done), len(files) - 1)].name
            bar.update(task, completed=done, description=f"{name} ({min(int(done) + 1, len(files))}/{len(files)})")

        transcripts = transcribe(
            deployment,
            files,
            model,
            word_times=word_times,
            speaker=speaker,
            progress=report_progress,
            log=error_terminal.print,
        )
        for found in transcripts:
            if found.document is None:
                failed += 1
                error_terminal.print(f"error: {found.file}: {found.error}", style="red")
                continue
            target = targets[found.file]
            _write_text(target, format_transcript(found.document, written_as))
            print_line(f"{found.file} → {target} ({_count_segments(found.document)})")
    if failed:
        raise typer.Exit(1)


def _write_text(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error.strerror}); choose another --output") from error


def _count_segments(document: Document) -> str:
    tags = Counter(tag.replace("_", " ") for each in document.segments for tag in each.tags)
    return ", ".join([f"{len(document.segments)} segments", *(f"{count} {tag}" for tag, count in tags.items())])


def _choose_targets(files: Sequence[Path], output: Path, written_as: str) -> dict[Path, Path]:
    """Return the transcript file of each audio file; raise `InputError` if two are the same."""
    targets: dict[Path, Path] = {}
    sources: dict[Path, Path] = {}
    for file in files:
        target = output / f"{file.stem}.{written_as}"
        if sources.setdefault(target, file) != file:
            raise InputError(
                f"{sources[target]} and {file} would both be written to {target}; transcribe them in two runs with "
                "another --output each"
            )
        targets[file] = target
    return targets
