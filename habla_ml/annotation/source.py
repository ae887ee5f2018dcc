"""A source of annotation events: one module or package below `sources/`, and one row in `SOURCES`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from habla_ml.errors import IsolatedError
from habla_ml.lake import Lake
from habla_ml.settings import Settings


@dataclass(frozen=True)
class SourceContext:
    """What a source works with."""

    lake: Lake
    settings: Settings
    now: datetime


@dataclass(frozen=True)
class SourceDay:
    """A day on which a source has events."""

    day: str
    unread: str = ""
    """Digest of the input that `collect` has yet to read; empty where the log holds all of it."""
    brings_clips: bool = False
    """Whether the unread input has clips of its own, so that the day need not be recorded before."""


@dataclass(frozen=True)
class SourceChanges:
    """The state of a source, as its sensor finds it."""

    days: tuple[SourceDay, ...]
    message: str = ""
    """For the log of the sensor."""
    errors: tuple[IsolatedError, ...] = ()
    """The days, tables and pointers that could not be examined; the next tick tries again."""


@dataclass(frozen=True)
class ForgetReport:
    """The traces of erased segments that a source removed, and those that only a person can remove."""

    deleted: str = ""
    """What was deleted, such as `3 tasks of Label Studio`; empty where nothing was."""
    left_to_person: tuple[str, ...] = ()
    """What a person has to do, one sentence each."""


@dataclass(frozen=True)
class AnnotationSource:
    """One source of annotation events."""

    name: str
    sensor: str
    """Name of the Dagster sensor that asks for its days; several sources can share a sensor."""
    find_changes: Callable[[SourceContext], SourceChanges]
    """Return the days that have events of this source. Called at every tick, so it reads only what changed. A source
    that is a remote server appends its new events here."""
    collect: Callable[[SourceContext, str], None]
    """Append the unread events of one day to the log. Does nothing where the log has them."""
    forget: Callable[[SourceContext, Collection[str]], ForgetReport]
    """Remove what the source keeps of segments, given by id, outside the event log."""
    is_server: bool = False
    """Whether looking for changes asks a remote server and appends events; a status then does not look."""
