"""The interface of hosted services: audio in, checked text out, or an error with its kind.

Answers of a service are not trusted: texts may contain control characters and numbers may be invalid. Error messages of
a service are never repeated, because they may contain the key or words of a child; our messages contain only the HTTP
status and a code that looks like one.
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
"""Retry later; the answer is not in the service's format; this clip is refused; every clip would be refused."""

_BUSY_STATUSES: Final = frozenset({408, 425, 429})
_SETUP_STATUSES: Final = frozenset({401, 402, 403, 404})
_ERROR_CODE_PATTERN: Final = re.compile(r"^[A-Za-z][A-Za-z_]{2,39}$")
_MAX_CHARACTERS: Final = 10_000
"""Limit for 30 s of speech; real speech has less than a tenth of it."""
_MAX_WORDS: Final = 2_000


class CallError(Exception):
    """A call without a text."""

    def __init__(
        self, reason: str, kind: FaultKind, retry_after_s: float | None = None, may_be_billed: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
        self.retry_after_s = retry_after_s
        self.may_be_billed = may_be_billed
        """Whether the service may have processed the clip in spite of the error."""

    @classmethod
    def from_status(
        cls, service: str, status: object, retry_after: str | None = None, code: object = None
    ) -> CallError:
        """Return the error of an HTTP status, with the service's error code if it looks like one.

        Client libraries also raise their errors for a body that they cannot parse; the status is then below 300.
        """
        if not isinstance(status, int) or status < 300:
            return cls.malformed(service)
        suffix = f" ({code})" if isinstance(code, str) and _ERROR_CODE_PATTERN.match(code) else ""
        reason = f"{service} answers HTTP {status}{suffix}"
        if status in _BUSY_STATUSES or status >= 500:
            return cls(reason, "busy", parse_retry_after(retry_after))
        if status in _SETUP_STATUSES:
            return cls(
                f"{reason}: check the key, its permissions, the region and the model under evaluation.hosted.{service}",
                "setup",
            )
        return cls(f"{reason}: it does not accept this clip or these options", "clip")

    @classmethod
    def timeout(cls, service: str, timeout_s: float) -> CallError:
        """Return the error of a call without an answer in time."""
        return cls(f"{service} did not answer within {timeout_s:.1f} s", "busy", may_be_billed=True)

    @classmethod
    def unreachable(cls, service: str) -> CallError:
        """Return the error of a call that could not be sent."""
        return cls(f"{service} cannot be reached", "busy")

    @classmethod
    def disconnected(cls, service: str) -> CallError:
        """Return the error of a connection that broke while or after the clip was sent."""
        return cls(f"{service} closed the connection before its answer was complete", "busy", may_be_billed=True)

    @classmethod
    def malformed(cls, service: str) -> CallError:
        """Return the error of a successful answer that is not in the service's format."""
        return cls(f"{service} sent an answer that is not in its documented format", "malformed", may_be_billed=True)


@dataclass(frozen=True)
class EncodedClip:
    """A clip as FLAC: 16 kHz, mono, 16 bits."""

    flac: bytes
    duration_s: float


class SpeechService(Protocol):
    """A client of one service; several threads may use it at the same time."""

    def recognise(self, recording: EncodedClip, timeout_s: float) -> tuple[str, tuple[RecognisedWord, ...]]:
        """Send a clip once and return its text and words.

        Raises:
            CallError: The call failed.
        """
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


def import_client_library(module: str, extra: str) -> ModuleType:
    """Import a client library.

    Raises:
        EvaluationError: It is not installed; the message names the extra to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise EvaluationError(
            f"{module}, the client of the service, is not installed; run: pip install 'habla-ml[{extra}]'"
        ) from None


def read_secret(variable: str, what: str) -> str:
    """Return the value of an environment variable.

    Raises:
        EvaluationError: It is not set; the message names the variable.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise EvaluationError(
            f"the environment variable {variable} is not set; set it to {what} (see docs/hosted_engines.md)"
        )
    return value


def parse_retry_after(retry_after: str | None) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3: seconds or a date), or None."""
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
    """Return text without control characters, bidirectional marks and unpaired surrogates.

    Raises:
        CallError: The value is not a text, or is too long for speech.
    """
    if not isinstance(text, str) or len(text) > _MAX_CHARACTERS:
        raise CallError.malformed(service)
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def clean_words(
    service: str, words: Iterable[tuple[object, object, object, object]], duration_s: float
) -> tuple[RecognisedWord, ...]:
    """Return words from (text, start, end, confidence or None), with times clipped to the clip.

    Raises:
        CallError: A text or number is invalid, or there are too many words for speech.
    """
    cleaned: list[RecognisedWord] = []
    for text, start, end, confidence in words:
        if len(cleaned) == _MAX_WORDS:
            raise CallError.malformed(service)
        word = clean_text(service, text)
        start_s = min(max(0.0, _parse_number(service, start)), duration_s)
        end_s = min(max(start_s, _parse_number(service, end)), duration_s)
        clipped = None if confidence is None else min(max(0.0, _parse_number(service, confidence)), 1.0)
        if word:
            cleaned.append(RecognisedWord(word, start_s, end_s, clipped))
    return tuple(cleaned)


def _parse_number(service: str, value: object) -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    raise CallError.malformed(service)
