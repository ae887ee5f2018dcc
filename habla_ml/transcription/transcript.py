"""One form for every transcript: a document of segments of lines of words, each with its text and its times.

Times are seconds from the start of the document's audio. As a file it is the JSON of the model (`model_dump_json`,
`model_validate_json`), which keeps everything, or SRT or WebVTT (`habla_ml.transcription.subtitles`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from habla_ml.errors import InputError
from habla_ml.transcription.engine import Hypothesis

LINE_WIDTH = 42
"""Characters of a line of subtitles, by common practice."""


class _TimedText(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    start_s: float
    end_s: float


class Word(_TimedText):
    """One word."""


class Line(_TimedText):
    """What is shown at once, no wider than was asked for."""

    words: tuple[Word, ...]
    """Empty where the engine knows no times of words."""


class Segment(_TimedText):
    """What one speaker says without a pause; the engine's own segment."""

    lines: tuple[Line, ...]
    speaker: str | None = None


class Document(_TimedText):
    """A whole recording or clip."""

    segments: tuple[Segment, ...]
    language: str = "es"


@dataclass(frozen=True)
class TranscribedClip:
    """What was heard in one clip of a recording."""

    hypothesis: Hypothesis
    start_s: float = 0.0
    """Where the clip begins in the document's audio."""
    speaker: str | None = None


def build_document(
    spoken: Iterable[TranscribedClip], line_width: int = LINE_WIDTH, language: str = "es"
) -> Document:
    """One segment for each clip in which something was heard, its text in lines of at most `line_width` characters.

    Lines are filled word by word, and a word that is longer than a line stands alone and whole. Where the engine
    knows no times of words, a segment lasts as long as its clip and its lines share that by their characters.

    Raises:
        InputError: `line_width` is less than 1.
    """
    if line_width < 1:
        raise InputError(f"the line width is {line_width} characters; give 1 or more ({LINE_WIDTH} is usual)")
    segments = tuple(_build_segment(each, line_width) for each in spoken if each.hypothesis.text.split())
    return Document(
        text=" ".join(each.text for each in segments),
        start_s=min((each.start_s for each in segments), default=0.0),
        end_s=max((each.end_s for each in segments), default=0.0),
        segments=segments,
        language=language,
    )


def _build_segment(spoken: TranscribedClip, line_width: int) -> Segment:
    heard, at_s = spoken.hypothesis, spoken.start_s
    if heard.words:
        words = [
            Word(text=each.text, start_s=at_s + each.start_s, end_s=at_s + each.end_s) for each in heard.words
        ]
        rows = _wrap_words([each.text for each in words], line_width)
        lines = tuple(_build_timed_line(words[first:end]) for first, end in rows)
    else:
        texts = heard.text.split()
        rows = _wrap_words(texts, line_width)
        lines = _build_untimed_lines([" ".join(texts[first:end]) for first, end in rows], at_s, heard.duration_s)
    text = " ".join(line.text for line in lines)
    return Segment(text=text, start_s=lines[0].start_s, end_s=lines[-1].end_s, lines=lines, speaker=spoken.speaker)


def _wrap_words(words: Sequence[str], line_width: int) -> list[tuple[int, int]]:
    """First word and the one after the last, for each line."""
    rows, first, width = [], 0, -1
    for at, word in enumerate(words):
        if at > first and width + 1 + len(word) > line_width:
            rows.append((first, at))
            first, width = at, -1
        width += 1 + len(word)
    return [*rows, (first, len(words))]


def _build_timed_line(words: Sequence[Word]) -> Line:
    text = " ".join(each.text for each in words)
    return Line(text=text, start_s=words[0].start_s, end_s=words[-1].end_s, words=tuple(words))


def _build_untimed_lines(texts: Sequence[str], start_s: float, duration_s: float) -> tuple[Line, ...]:
    characters, before, lines = sum(map(len, texts)), 0, []
    for text in texts:
        lines.append(
            Line(
                text=text,
                start_s=start_s + duration_s * before / characters,
                end_s=start_s + duration_s * (before + len(text)) / characters,
                words=(),
            )
        )
        before += len(text)
    return tuple(lines)
