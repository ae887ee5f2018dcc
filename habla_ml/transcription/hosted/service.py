"""What a service of speech recognition is to us: audio in, checked text out, or a fault that says whose move is next.

What a service says is not trusted: its text may hold anything, its numbers may be none. And what it says about a fault
is never repeated, for it may hold the key that it was asked with or the words of a child: only the HTTP status, and
a code that looks like one, get into a message.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import Final, Literal, Protocol

from habla_ml.errors import EvaluationError
from habla_ml.transcription.engine import RecognisedWord

FaultKind = Literal["busy", "malformed", "clip", "setup"]
"""Worth asking again; no answer of this service; this clip is refused; no clip would be taken."""

_BUSY_STATUSES: Final = frozenset({408, 425, 429})
_SETUP_STATUSES: Final = frozenset({401, 402, 403, 404})
_ERROR_CODE_PATTERN: Final = re.compile(r"^[A-Za-z][A-Za-z_]{2,39}$")
_MAX_CHARACTERS: Final = 10_000
"""Of 30 s of speech; nobody says a tenth of it."""
_MAX_WORDS: Final = 2_000


class CallError(Exception):
    """A call that brought no text."""

    def __init__(
        self, reason: str, kind: FaultKind, retry_after_s: float | None = None, may_be_billed: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
        self.retry_after_s = retry_after_s
        self.may_be_billed = may_be_billed
        """Whether the service may have heard the clip all the same."""


@dataclass(frozen=True)
class EncodedClip:
    """A clip as it is sent: 16 kHz, mono, 16 bits."""

    flac: bytes
    duration_s: float


class SpeechService(Protocol):
    """A client of one service; used by several threads at a time."""

    def recognise(self, recording: EncodedClip, timeout_s: float) -> tuple[str, tuple[RecognisedWord, ...]]:
        """The text and its words, by one call that is not repeated.

        Raises:
            CallError: There is no text.
        """
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


def import_client_library(module: str, extra: str) -> ModuleType:
    """Import a client library.

    Raises:
        EvaluationError: It is not installed; names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise EvaluationError(
            f"{module} is not installed; `pip install 'habla-ml[{extra}]'` brings the service's client"
        ) from None


def read_secret(variable: str, what: str) -> str:
    """The value of an environment variable.

    Raises:
        EvaluationError: It is not set; names the variable, never a value.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise EvaluationError(
            f"the environment variable {variable} is not set; it must hold {what} (see docs/hosted_engines.md)"
        )
    return value


def make_status_error(service: str, status: int, retry_after: str | None = None, code: object = None) -> CallError:
    """The fault that an HTTP status stands for; `retry_after` is that header, `code` the service's own word."""
    said = f" ({code})" if isinstance(code, str) and _ERROR_CODE_PATTERN.match(code) else ""
    reason = f"{service} answers HTTP {status}{said}"
    if status in _BUSY_STATUSES or status >= 500:
        return CallError(reason, "busy", parse_retry_after(retry_after))
    if status in _SETUP_STATUSES:
        return CallError(
            f"{reason}: check the key, its rights, the region and the model under evaluation.hosted.{service}",
            "setup",
        )
    return CallError(f"{reason}: it does not take this clip or these options", "clip")


def make_timeout_error(service: str, timeout_s: float) -> CallError:
    """No answer in time; the service may have done its work."""
    return CallError(f"{service} gave no answer in {timeout_s:.1f} s", "busy", may_be_billed=True)


def make_unreachable_error(service: str) -> CallError:
    """Nothing was sent."""
    return CallError(f"{service} cannot be reached", "busy")


def make_disconnect_error(service: str) -> CallError:
    """The connection broke after the clip was sent, or while it was."""
    return CallError(f"{service} closed the connection before its answer was complete", "busy", None, True)


def make_malformed_answer_error(service: str) -> CallError:
    """HTTP 200 with a body that is not in the service's format."""
    return CallError(f"{service} answers what is none of its documented forms", "malformed", None, True)


def parse_retry_after(retry_after: str | None) -> float | None:
    """The header Retry-After (RFC 9110, 10.2.3), seconds or a date; None where it is absent or neither."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def clean_text(service: str, text: object) -> str:
    """Text without control characters, marks that turn the direction of writing, and halves of characters.

    Raises:
        CallError: It is no text, or longer than speech can be.
    """
    if not isinstance(text, str) or len(text) > _MAX_CHARACTERS:
        raise make_malformed_answer_error(service)
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def clean_words(
    service: str, words: Iterable[tuple[object, object, object, object]], duration_s: float
) -> tuple[RecognisedWord, ...]:
    """Words from (text, start, end, confidence or None), their times held inside the clip.

    Raises:
        CallError: A text is none, a number is none, or there are more words than speech can hold.
    """
    heard: list[RecognisedWord] = []
    for text, start, end, confidence in words:
        if len(heard) == _MAX_WORDS:
            raise make_malformed_answer_error(service)
        spelled = clean_text(service, text)
        start_s = min(max(0.0, _parse_number(service, start)), duration_s)
        end_s = min(max(start_s, _parse_number(service, end)), duration_s)
        sure = None if confidence is None else min(max(0.0, _parse_number(service, confidence)), 1.0)
        if spelled:
            heard.append(RecognisedWord(spelled, start_s, end_s, sure))
    return tuple(heard)


def _parse_number(service: str, value: object) -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    raise make_malformed_answer_error(service)
