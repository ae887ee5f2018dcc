"""Commands as the documentation writes them: the shell blocks (`sh`, `console`, `cron`) and the inline code spans of a page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from habla_ml.cli.main import app

SHELL = ("sh", "console", "cron")
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # Typer does not export its UsageError
_ENDS = {";", "|", "||", "&", "&&", ">", "<", "<<", "(", ")"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_PLACEHOLDERS = {"N": "1", "NUMBER": "1"}


@dataclass(frozen=True)
class DocumentedCommand:
    """One simple command: its program without folders, and its arguments."""

    words: tuple[str, ...]
    is_block: bool
    """In a block that a reader copies; else inline, where a command may be named without its arguments."""

    @property
    def text(self) -> str:
        """The command without `--profile`, quoted as in a shell."""
        words = list(self.words)
        while option := next((each for each in ("-p", "--profile") if each in words), None):
            at = words.index(option)
            del words[at : at + 2]
        return shlex.join(words)


def read_commands(page: Path) -> Iterator[DocumentedCommand]:
    """Yield all commands of a page's shell blocks, and the inline spans that begin with `habla-ml`."""
    blocks, prose = split_page(page.read_text("utf-8"))
    for label, lines in blocks:
        if label in SHELL:
            for line in _join_lines(lines, is_console=label == "console"):
                yield from (DocumentedCommand(each, True) for each in _split_commands(line, is_cron=label == "cron"))
    for span in re.findall(r"`([^`]+)`", prose):
        for words in _split_commands(" ".join(span.split())):
            if words[0] == "habla-ml" and "…" not in words:
                yield DocumentedCommand(words, False)


def split_page(text: str) -> tuple[list[tuple[str, list[str]]], str]:
    """Return the fenced blocks as label and lines, also those within lists, and the text without them."""
    blocks: list[tuple[str, list[str]]] = []
    prose: list[str] = []
    inside: list[str] | None = None
    for line in text.splitlines():
        fence = re.match(r"\s*```(\S*)", line)
        if fence and inside is None:
            inside = []
            blocks.append((fence[1], inside))
        elif fence:
            inside = None
        else:
            (prose if inside is None else inside).append(line)
    return blocks, "\n".join(prose)


def _join_lines(lines: list[str], *, is_console: bool) -> Iterator[str]:
    """Yield whole commands: a backslash, an open quote or a pipe continues on the next line; `$ ` begins one in a console."""
    begun = ""
    for line in lines:
        if is_console and not line.startswith("$ "):
            continue
        begun += line.removeprefix("$ ")
        if begun.rstrip().endswith(("\\", "|")) or not _is_closed(begun):
            begun = begun.rstrip().removesuffix("\\") + "\n"
            continue
        yield begun
        begun = ""
    assert not begun, f"{begun} has no end"


def _is_closed(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


def _split_commands(line: str, *, is_cron: bool = False) -> Iterator[tuple[str, ...]]:
    if is_cron:
        line = line.split(maxsplit=5)[5]
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.commenters = "#"
    reader.wordchars += "…,[]!@+%:{}$^"
    found: list[str] = []
    try:
        tokens = list(reader)
    except ValueError:  # an inline span that is no shell, such as half a quotation
        return
    for token in [*tokens, ";"]:
        if token not in _ENDS:
            found.append(token)
            continue
        while found and (_ASSIGNMENT.match(found[0]) or found[0] == "sudo"):
            found.pop(0)
        if found:
            yield (found[0].rpartition("/")[2], *found[1:])
        found = []


def parse_command(words: tuple[str, ...]) -> None:
    """Parse the arguments of `habla-ml` as the program does, without running it.

    Raises:
        typer.BadParameter: An argument is missing or has a wrong value. Other faults are another `USAGE_ERROR`.
    """
    command: Any = typer.main.get_command(app)
    name, context = "habla-ml", None
    arguments = [_PLACEHOLDERS.get(each, each) for each in words]
    while True:
        context = command.make_context(name, arguments, parent=context)
        if not hasattr(command, "commands"):
            return
        left = [*context._protected_args, *context.args]
        if not left:
            return
        name, command, arguments = command.resolve_command(context, left)
