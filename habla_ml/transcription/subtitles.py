"""Transcripts as SRT and WebVTT, written and read; a line of the transcript is a cue.

WebVTT: https://www.w3.org/TR/webvtt1/. SRT has no standard: a number, `00:00:01,000 --> 00:00:02,000`, the text and an
empty line. Neither holds segments or times of words, so a cue is read as a segment, and SRT holds no speakers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Final

from habla_ml.errors import InputError
from habla_ml.transcription.transcript import Document, Line, Segment

_TIMINGS: Final = re.compile(
    r"\s*(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})\s*-->\s*(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})(?:\s|$)"
)
_VOICE: Final = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]*)>")
_TAG: Final = re.compile(r"<[^>]*>")


def to_srt(document: Document) -> str:
    """The document as SRT; as SRT cannot escape `-->`, that becomes an arrow."""
    cues = [
        f"{number}\n{_format_timestamp(start_ms, ',')} --> {_format_timestamp(end_ms, ',')}\n{text.replace('-->', '→')}\n"
        for number, (_, start_ms, end_ms, text) in enumerate(_iterate_cues(document), start=1)
    ]
    return "\n".join(cues)


def to_vtt(document: Document) -> str:
    """The document as WebVTT; speakers are its voices."""
    cues = ["WEBVTT\n"]
    for speaker, start_ms, end_ms, text in _iterate_cues(document):
        voice = f"<v {_escape_markup(_join_lines(speaker))}>" if speaker and _join_lines(speaker) else ""
        cues.append(
            f"{_format_timestamp(start_ms, '.')} --> {_format_timestamp(end_ms, '.')}\n{voice}{_escape_markup(text)}\n"
        )
    return "\n".join(cues)


def read_srt(text: str, language: str = "es") -> Document:
    """A document with one segment for each cue of an SRT file.

    Raises:
        InputError: There is text, and no cue in it.
    """
    segments = tuple(_make_segment(*cue, None) for cue in _parse_cues(text))
    if not segments and text.strip():
        raise InputError(f"is no SRT: no line of times as 00:00:01,000 --> 00:00:02,000 in {text[:40]!r}…")
    return _make_document(segments, language)


def read_vtt(text: str, language: str = "es") -> Document:
    """A document with one segment for each cue of a WebVTT file; tags are dropped, the first voice is the speaker.

    Raises:
        InputError: The text does not begin with WEBVTT.
    """
    if not text.removeprefix("\ufeff").startswith("WEBVTT"):
        raise InputError(f"is no WebVTT: it begins with {text[:20]!r}, not with WEBVTT")
    segments = []
    for start_s, end_s, lines in _parse_cues(text):
        voice = _VOICE.search("\n".join(lines))
        plain = [unescape(_TAG.sub("", line)) for line in lines]
        segments.append(_make_segment(start_s, end_s, plain, unescape(voice[1]).strip() if voice else None))
    return _make_document(tuple(segments), language)


def _iterate_cues(document: Document) -> Iterator[tuple[str | None, int, int, str]]:
    """Speaker, start and end in milliseconds, and text; a cue lasts a millisecond at least."""
    for segment in document.segments:
        for line in segment.lines:
            start_ms, end_ms = round(line.start_s * 1000), round(line.end_s * 1000)
            if text := _join_lines(line.text):
                yield segment.speaker, start_ms, max(end_ms, start_ms + 1), text


def _join_lines(text: str) -> str:
    """An empty line would end the cue."""
    return " ".join(text.split())


def _escape_markup(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _format_timestamp(ms: int, point: str) -> str:
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def _parse_cues(text: str) -> Iterator[tuple[float, float, list[str]]]:
    """Start, end and lines of every cue; what has no line of times (notes, styles, regions) is passed over."""
    normal = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for block in re.split(r"\n{2,}", normal.strip("\n")):
        lines = block.split("\n")
        for at, line in enumerate(lines[:2]):
            if timings := _TIMINGS.match(line):
                yield _parse_seconds(timings.groups()[:4]), _parse_seconds(timings.groups()[4:]), lines[at + 1 :]
                break


def _parse_seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + int((fraction or "0").ljust(3, "0")) / 1000


def _make_segment(start_s: float, end_s: float, lines: list[str], speaker: str | None) -> Segment:
    shown = tuple(
        Line(text=line.strip(), start_s=start_s, end_s=end_s, words=()) for line in lines if line.strip()
    )
    text = " ".join(each.text for each in shown)
    return Segment(text=text, start_s=start_s, end_s=end_s, lines=shown, speaker=speaker)


def _make_document(segments: tuple[Segment, ...], language: str) -> Document:
    return Document(
        text=" ".join(each.text for each in segments if each.text),
        start_s=min((each.start_s for each in segments), default=0.0),
        end_s=max((each.end_s for each in segments), default=0.0),
        segments=segments,
        language=language,
    )
