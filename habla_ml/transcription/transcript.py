"""One form for every transcript: a document of segments of lines of words, each with its text and its times.

Times are seconds from the start of the document's audio.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Timed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    start_s: float
    end_s: float


class Word(_Timed):
    """One word."""


class Line(_Timed):
    """What is shown at once, no wider than was asked for."""

    words: tuple[Word, ...]
    """Empty where the engine knows no times of words."""


class Segment(_Timed):
    """What one speaker says without a pause; the engine's own segment."""

    lines: tuple[Line, ...]
    speaker: str | None = None


class Document(_Timed):
    """A whole recording or clip."""

    segments: tuple[Segment, ...]
    language: str = "es"
