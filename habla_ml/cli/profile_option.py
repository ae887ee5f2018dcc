"""`--profile`, and how messages name it: a command that a message proposes must act on the same deployment."""

from __future__ import annotations

import re
import shlex
from contextvars import ContextVar
from typing import Annotated, Final, cast

import typer
from typer.core import TyperCommand, TyperGroup

_COMMAND: Final = re.compile(r"`habla-ml ([^`]+)`")
_Command = TyperCommand | TyperGroup
_given: ContextVar[tuple[str, _Command] | None] = ContextVar("given profile and program", default=None)


def _remember(context: typer.Context, value: str | None) -> str | None:
    program = context.find_root().command
    _given.set((value, program) if value is not None and isinstance(program, _Command) else None)
    return value


Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="A profile in configs/ or a YAML file; default HABLA_PROFILE, else local.",
        callback=_remember,
    ),
]


def name_given_profile(text: str) -> str:
    """Add the `-p` of the present command to the commands in a text that take one and have none.

    A profile of HABLA_PROFILE needs no option: the person's next command has it too.
    """
    given = _given.get()
    return text if given is None else _COMMAND.sub(lambda found: _add_profile(found, *given), text)


def _add_profile(found: re.Match[str], profile: str, program: _Command) -> str:
    words, command = found[1].split(), cast("object", program)
    while isinstance(command, TyperGroup) and words:
        command = command.commands.get(words.pop(0))
    takes_profile = isinstance(command, _Command) and any(each.name == "profile" for each in command.params)
    if not takes_profile or {"-p", "--profile"} & set(words):
        return found[0]
    return f"`habla-ml {found[1]} -p {shlex.quote(profile)}`"
