"""The errors of the project and their causes. A message has the thing, its value, the expected value and the next step.

A fault of the environment (a full disk, a server that is down) passes or is repaired, so the same work is tried again
without end. A fault of the input returns at each attempt, so the work is given up after a few.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

Fault = Literal["environment", "input", "program"]
"""`environment`: disk, network, another server, a file that a person must repair. `input`: the data or the settings of
this work. `program`: any other error, such as a defect or a lack of memory."""

_OUTAGES: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE)
# Libraries and our own messages quote the system's text; torch has its own.
_OUTAGE_TEXTS: Final = (*map(os.strerror, _OUTAGES), "PytorchStreamWriter failed writing")
_DATABASE_OUTAGES: Final = frozenset({"OperationalError", "InterfaceError"})
_OUT_OF_MEMORY: Final = "OutOfMemoryException"
"""DuckDB's, for a lack of our own memory."""


class HablaError(Exception):
    """Base class; the command line prints its message without a traceback."""

    fault: ClassVar[Fault] = "input"


class SettingsError(HablaError):
    """A settings file, key or environment variable is wrong."""


class InputError(HablaError):
    """An input from outside (recording, table, transcript) is unusable."""


class InputUnavailableError(InputError):
    """A folder, table or register cannot be read as a whole; it may be repaired or mounted later."""

    fault = "environment"


class ServiceError(HablaError):
    """Another server, such as Label Studio, is unreachable, refuses a request or sends an invalid response."""

    fault = "environment"


class LakeError(HablaError):
    """The lake or release store is unwritable, full or without conditional writes."""

    fault = "environment"


class ObjectMissingError(LakeError):
    """A named object or pointer target does not exist in the store."""


class PointerMovedError(LakeError):
    """A compare-and-set failed because the pointer moved since it was read."""


class CorpusError(HablaError):
    """The corpus, its conventions or its splits do not permit the next stage."""


class TrainingError(HablaError):
    """A training run cannot start, resume or finish."""


class TrainingInterruptedError(TrainingError):
    """A fault of the environment ended the training process; the next run resumes at its last checkpoint."""

    fault = "environment"


class TrainingKilledError(TrainingError):
    """The training process was killed, probably for lack of memory; a further attempt resumes at its last checkpoint."""

    fault = "program"


class TrainingLeasedError(TrainingError):
    """Another process holds the lease on this training, here or on another machine; it ends, or its lease does."""

    fault = "environment"


class ExportError(HablaError):
    """A checkpoint cannot be converted, or the converted artefact fails its verification."""


class EvaluationError(HablaError):
    """A comparison is impossible: no test set, no artefact or unequal sets."""


class ReleaseError(HablaError):
    """A release or rollback is refused, or the published files do not verify."""


class UnsignedStateError(ReleaseError):
    """None of the keys at hand signed the state of a channel, such as one from before a change of the keys."""


@dataclass(frozen=True)
class IsolatedError:
    """An error that affected one day, source or table, while the others went on."""

    subject: str
    """What it affected, such as a day `YYYY-MM-DD`."""
    message: str


def classify_fault(error: BaseException) -> Fault:
    """Return what caused an error, from its class, its text, and the errors that it was raised from."""
    if isinstance(error, OSError) or not isinstance(error, Exception) or _is_database_outage(error):
        return "environment"
    causes = [error]
    while isinstance(causes[-1].__cause__, Exception):
        causes.append(causes[-1].__cause__)
    if any(text in str(each) for each in causes for text in _OUTAGE_TEXTS):
        return "environment"
    if isinstance(error, HablaError):
        return error.fault
    return "program" if len(causes) == 1 else classify_fault(causes[1])


def _is_database_outage(error: BaseException) -> bool:
    """Return whether a database is down, full or locked, or its connection is lost; Dagster's storage is one too.

    Every driver of Python has errors of these names (PEP 249), and SQLAlchemy's mark a lost connection.
    """
    names = {each.__name__ for each in type(error).__mro__}
    if _OUT_OF_MEMORY in names:
        return False
    return not names.isdisjoint(_DATABASE_OUTAGES) or getattr(error, "connection_invalidated", False) is True


@contextmanager
def isolate(subject: str, errors: list[IsolatedError] | None) -> Iterator[None]:
    """Add an error of the block to `errors`; raise it if that is None."""
    try:
        yield
    except Exception as error:  # whatever one day raises, the other days must not wait for it
        if errors is None:
            raise
        errors.append(IsolatedError(subject, describe_error(error)))


def describe_error(error: BaseException) -> str:
    """Return class and message; only the class for errors whose message can quote an input."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, (HablaError, OSError)) else name
