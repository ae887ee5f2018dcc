"""The base class of hosted services: audio in, checked text out, or an error with its kind.

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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import Any, ClassVar, Final, Literal

from habla_ml.errors import EvaluationError
from habla_ml.transcription.engine import RecognisedWord

FaultKind = Literal["busy", "malformed", "clip", "setup"]
"""Retry later; the answer is not in the service's format; this clip is refused; every clip would be refused."""

CommonFault = Literal["unreachable", "timeout", "disconnected", "malformed", "unauthorised"]
HttpStatus = tuple[object, Mapping[str, str] | None, object]
"""Status, headers and the service's error code."""
RawWord = tuple[object, object, object, object]
"""Text, start (s), end (s) and confidence or None, as a service sends them."""
ErrorRule = CommonFault | Callable[[Any], CommonFault | HttpStatus]
"""The fault of an exception of a client library, or how to read it."""

_COMMON_FAULTS: Final[Mapping[CommonFault, tuple[str, FaultKind, bool]]] = {
    "unreachable": ("cannot be reached", "busy", False),
    "timeout": ("did not answer within {timeout_s:.1f} s", "busy", True),
    "disconnected": ("closed the connection before its answer was complete", "busy", True),
    "malformed": ("sent an answer that is not in its documented format", "malformed", True),
    "unauthorised": ("does not accept the credentials; create a new key", "setup", False),
}
"""Reason, kind, and whether the service may have processed the clip."""

_BUSY_STATUSES: Final = frozenset({408, 425, 429})
_SETUP_STATUSES: Final = frozenset({401, 402, 403, 404})
_ERROR_CODE_PATTERN: Final = re.compile(r"^[A-Za-z][A-Za-z_]{2,39}$")
_FORMAT_ERRORS: Final = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""Errors of code that reads an answer in another format."""
_MAX_CHARACTERS: Final = 10_000
"""Limit for 30 s of speech; real speech has less than a tenth of it."""
_MAX_WORDS: Final = 2_000


class CallError(Exception):
    """A call without a text; with `may_be_billed`, the service may have processed the clip in spite of the error."""

    def __init__(
        self, reason: str, kind: FaultKind, retry_after_s: float | None = None, may_be_billed: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
        self.retry_after_s = retry_after_s
        self.may_be_billed = may_be_billed


@dataclass(frozen=True)
class EncodedClip:
    """A clip as FLAC: 16 kHz, mono, 16 bits."""

    flac: bytes
    duration_s: float


class SpeechService(ABC):
    """A client of one service; several threads may use it at the same time."""

    name: ClassVar[str]
    errors: Mapping[type[Exception], ErrorRule]
    """The exceptions of the client library; the first class that matches decides."""

    def recognise(self, recording: EncodedClip, timeout_s: float) -> tuple[str, tuple[RecognisedWord, ...]]:
        """Send a clip once and return its text and words.

        Raises:
            CallError: The call failed.
        """
        expected: tuple[type[Exception], ...] = (*self.errors, *_FORMAT_ERRORS)
        try:
            texts, words = self._request(recording.flac, timeout_s)
            text = _clean_text(" ".join(map(_clean_text, texts)))
            return text, _clean_words(words, recording.duration_s)
        except expected as error:
            raise self._make_call_error(error, timeout_s) from None

    @abstractmethod
    def _request(self, flac: bytes, timeout_s: float) -> tuple[Iterable[object], Iterable[RawWord]]:
        """Send a clip once; return the parts of its text and its words as the service sends them."""

    @abstractmethod
    def close(self) -> None:
        """Close its connections."""

    def _make_call_error(self, error: Exception, timeout_s: float) -> CallError:
        rules: list[ErrorRule] = [rule for known, rule in self.errors.items() if isinstance(error, known)]
        rule = rules[0] if rules else "malformed"
        fault = rule(error) if callable(rule) else rule
        if isinstance(fault, tuple):
            status, headers, code = fault
            # Client libraries also raise their errors for a body that they cannot parse; the status is then below 300.
            if isinstance(status, int) and status >= 300:
                return self._interpret_status(status, headers, code)
            fault = "malformed"
        reason, kind, may_be_billed = _COMMON_FAULTS[fault]
        return CallError(f"{self.name} {reason.format(timeout_s=timeout_s)}", kind, None, may_be_billed)

    def _interpret_status(self, status: int, headers: Mapping[str, str] | None, code: object) -> CallError:
        suffix = f" ({code})" if isinstance(code, str) and _ERROR_CODE_PATTERN.match(code) else ""
        reason = f"{self.name} answers HTTP {status}{suffix}"
        if status in _BUSY_STATUSES or status >= 500:
            return CallError(reason, "busy", parse_retry_after((headers or {}).get("retry-after")))
        if status in _SETUP_STATUSES:
            advice = f"check the key, its permissions, the region and the model under evaluation.hosted.{self.name}"
            return CallError(f"{reason}: {advice}", "setup")
        return CallError(f"{reason}: it does not accept this clip or these options", "clip")


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


def _clean_text(text: object) -> str:
    """Return text without control characters, bidirectional marks and unpaired surrogates."""
    if not isinstance(text, str) or len(text) > _MAX_CHARACTERS:
        raise ValueError(f"not a text of at most {_MAX_CHARACTERS} characters")
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _clean_words(words: Iterable[RawWord], duration_s: float) -> tuple[RecognisedWord, ...]:
    """Return the words that have a text, with times inside the clip and confidences in 0…1."""
    cleaned: list[RecognisedWord] = []
    for text, start, end, confidence in words:
        if len(cleaned) == _MAX_WORDS:
            raise ValueError(f"more than {_MAX_WORDS} words")
        clipped = None if confidence is None else min(max(0.0, _parse_number(confidence)), 1.0)
        word = RecognisedWord.inside(duration_s, _clean_text(text), _parse_number(start), _parse_number(end), clipped)
        if word.text:
            cleaned.append(word)
    return tuple(cleaned)


def _parse_number(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError("not a finite number")
    return number
