"""Transcripts: a document consists of segments, a segment of lines, a line of words, each with its text and times.

All times are seconds from the start of the audio file, rounded to milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from habla_ml.transcription.engine import Hypothesis, RecognisedWord
from habla_ml.transcription.speech_clips import SpeechClip

SegmentTag = Literal["low_confidence", "inaudible", "failed"]
"""The average log-probability is low; no word was recognised; the engine failed, and `reason` describes how."""


Seconds = Annotated[float, AfterValidator(lambda seconds: round(seconds, 3))]


class _TimedText(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    start_s: Seconds
    end_s: Seconds


class Word(_TimedText):
    """A word."""

    confidence: float | None = None
    """0…1 where a service gives one."""


class Line(_TimedText):
    """A line of subtitles, no wider than the line width unless a single word is."""

    words: tuple[Word, ...] = ()
    """Empty where the engine gives no word times."""


class Segment(_TimedText):
    """Speech between two pauses."""

    lines: tuple[Line, ...] = ()
    language: str
    speaker: str | None = None
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    tags: tuple[SegmentTag, ...] = ()
    reason: str | None = None


class Document(_TimedText):
    """The transcript of an audio file."""

    format: Literal["habla_ml.transcript/1"] = "habla_ml.transcript/1"
    source: str
    """Name of the audio file."""
    model: str
    engine: str
    language: str
    segments: tuple[Segment, ...]


def build_segments(
    clips: Iterable[tuple[SpeechClip, Hypothesis]],
    *,
    language: str,
    line_width: int,
    low_confidence_below: float,
    speaker: str | None = None,
) -> tuple[Segment, ...]:
    """Return one segment for each clip, its text in lines of at most `line_width` characters.

    Lines are filled word by word; a word longer than a line keeps a line of its own. Without word times a segment lasts
    as long as its clip, and each line gets a share of that time in proportion to its characters. A segment is tagged
    `low_confidence` where the average log-probability per token is below `low_confidence_below`.
    """
    segments = []
    for clip, hypothesis in clips:
        lines = _build_lines(clip, hypothesis, line_width)
        segments.append(
            Segment(
                text=" ".join(line.text for line in lines),
                start_s=lines[0].start_s if lines else clip.start_s,
                end_s=lines[-1].end_s if lines else clip.start_s + clip.duration_s,
                lines=lines,
                language=language,
                speaker=speaker,
                avg_logprob=hypothesis.avg_logprob,
                no_speech_prob=hypothesis.no_speech_prob,
                tags=_choose_tags(hypothesis, low_confidence_below),
                reason=hypothesis.reason,
            )
        )
    return tuple(segments)


def _choose_tags(hypothesis: Hypothesis, low_confidence_below: float) -> tuple[SegmentTag, ...]:
    if hypothesis.failure is not None:
        return ("failed",)
    if not hypothesis.text.split():
        return ("inaudible",)
    is_low = hypothesis.avg_logprob is not None and hypothesis.avg_logprob < low_confidence_below
    return ("low_confidence",) if is_low else ()


def _build_lines(clip: SpeechClip, hypothesis: Hypothesis, line_width: int) -> tuple[Line, ...]:
    texts = hypothesis.text.split()
    # An engine may have no times for some words, such as figures; the text takes precedence.
    if texts and [part for each in hypothesis.words for part in each.text.split()] == texts:
        rows = _wrap_words([each.text for each in hypothesis.words], line_width)
        return tuple(_build_timed_line(hypothesis.words[first:end], clip.start_s) for first, end in rows)
    rows = _wrap_words(texts, line_width)
    return _build_untimed_lines([" ".join(texts[first:end]) for first, end in rows], clip)


def _wrap_words(words: Sequence[str], line_width: int) -> list[tuple[int, int]]:
    """Return the index of the first word and the index after the last word of each line."""
    rows, first, width = [], 0, -1
    for at, word in enumerate(words):
        if at > first and width + 1 + len(word) > line_width:
            rows.append((first, at))
            first, width = at, -1
        width += 1 + len(word)
    return [*rows, (first, len(words))] if words else []


def _build_timed_line(recognised: Sequence[RecognisedWord], clip_start_s: float) -> Line:
    words = tuple(
        Word(
            text=each.text,
            start_s=clip_start_s + each.start_s,
            end_s=clip_start_s + each.end_s,
            confidence=each.confidence,
        )
        for each in recognised
    )
    text = " ".join(each.text for each in words)
    return Line(text=text, start_s=words[0].start_s, end_s=words[-1].end_s, words=words)


def _build_untimed_lines(texts: Sequence[str], clip: SpeechClip) -> tuple[Line, ...]:
    seconds_per_character = clip.duration_s / max(1, sum(map(len, texts)))
    ends_s = [clip.start_s + n * seconds_per_character for n in accumulate(map(len, texts), initial=0)]
    return tuple(
        Line(text=text, start_s=start_s, end_s=end_s)
        for text, (start_s, end_s) in zip(texts, pairwise(ends_s), strict=True)
    )
