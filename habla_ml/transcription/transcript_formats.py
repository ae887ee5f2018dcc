"""File formats of transcripts: JSON keeps everything, SRT and WebVTT are subtitles, and text is for reading.

A line of the transcript is a cue. WebVTT (https://www.w3.org/TR/webvtt1/) also keeps the speaker as the voice of a cue and
low confidence as the class `low_confidence`. A segment without text shows the marker `[inaudible]` of the conventions.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

from habla_ml.transcription.transcript import Document, Line, Segment

TranscriptFormat = Literal["json", "srt", "vtt", "txt"]

_INAUDIBLE = "[inaudible]"
_SHORTEST_CUE_S = 0.001


def format_transcript(document: Document, name: TranscriptFormat) -> str:
    """Return the content of a transcript file."""
    return {"json": _format_json, "srt": _format_srt, "vtt": _format_vtt, "txt": _format_text}[name](document)


def _format_json(document: Document) -> str:
    return document.model_dump_json(indent=2) + "\n"


def _format_text(document: Document) -> str:
    return "".join(
        f"{each.speaker}: {each.text or _INAUDIBLE}\n" if each.speaker else f"{each.text or _INAUDIBLE}\n"
        for each in document.segments
    )


def _format_srt(document: Document) -> str:
    import srt

    # SRT has no escape for an arrow of times inside a text.
    cues = [
        srt.Subtitle(None, timedelta(seconds=start_s), timedelta(seconds=end_s), text.replace("-->", "→"))
        for _, start_s, end_s, text in _iterate_cues(document)
    ]
    return str(srt.compose(cues))


def _format_vtt(document: Document) -> str:
    import webvtt

    captions = []
    for segment, start_s, end_s, text in _iterate_cues(document):
        cue = html.escape(text, quote=False)
        if "low_confidence" in segment.tags:
            cue = f"<c.low_confidence>{cue}</c>"
        if segment.speaker:
            cue = f"<v {html.escape(_join_lines(segment.speaker), quote=False)}>{cue}"
        captions.append(webvtt.Caption(_format_timestamp(start_s), _format_timestamp(end_s), cue))
    return str(webvtt.WebVTT(captions=captions).content)


def _iterate_cues(document: Document) -> Iterator[tuple[Segment, float, float, str]]:
    """Yield the segment, start and end (s) and text of each cue, which lasts 1 ms or more."""
    for segment in document.segments:
        marker = Line(text=_INAUDIBLE, start_s=segment.start_s, end_s=segment.end_s)
        for line in segment.lines or (marker,):
            yield segment, line.start_s, max(line.end_s, line.start_s + _SHORTEST_CUE_S), _join_lines(line.text)


def _join_lines(text: str) -> str:
    """Return the text in one line, because an empty line ends a cue."""
    return " ".join(text.split())


def _format_timestamp(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
