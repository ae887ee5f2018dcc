"""SRT and WebVTT files, read by the libraries that other programs use."""

import html
import json
from datetime import timedelta

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.transcription.transcript import Document, Line, Segment, SegmentTag
from habla_ml.transcription.transcript_formats import format_transcript


def make_document(
    *cues: tuple[float, float, str], speaker: str | None = None, tags: tuple[SegmentTag, ...] = ()
) -> Document:
    segments = tuple(
        Segment(
            text=text,
            start_s=start_s,
            end_s=end_s,
            language="es",
            speaker=speaker,
            tags=tags,
            lines=(Line(text=text, start_s=start_s, end_s=end_s),) if text else (),
        )
        for start_s, end_s, text in cues
    )
    text = " ".join(each.text for each in segments)
    return Document(
        text=text,
        start_s=0,
        end_s=9,
        source="a.wav",
        model="v1",
        engine="faster-whisper",
        language="es",
        segments=segments,
    )


def read_srt(document: Document) -> list[tuple[timedelta, timedelta, str]]:
    return [(each.start, each.end, each.content) for each in srt.parse(format_transcript(document, "srt"))]


def read_vtt(document: Document) -> list[tuple[str, str, str]]:
    cues = webvtt.from_string(format_transcript(document, "vtt"))
    return [(each.start, each.end, html.unescape(each.text)) for each in cues]


TWO = make_document((0.5, 1.9996, "¿Qué tal, niños?"), (3661.25, 3662.0, "Muy bien."))


def test_lines_are_cues():
    assert read_srt(TWO) == [
        (timedelta(seconds=0.5), timedelta(seconds=2), "¿Qué tal, niños?"),
        (timedelta(seconds=3661.25), timedelta(seconds=3662), "Muy bien."),
    ]
    assert read_vtt(TWO) == [
        ("00:00:00.500", "00:00:02.000", "¿Qué tal, niños?"),
        ("01:01:01.250", "01:01:02.000", "Muy bien."),
    ]


def test_text_has_one_line_for_each_segment():
    assert format_transcript(TWO, "txt") == "¿Qué tal, niños?\nMuy bien.\n"
    assert format_transcript(make_document((0, 1, "Sí."), speaker="Ana"), "txt") == "Ana: Sí.\n"


def test_json_keeps_the_whole_document():
    written = json.loads(format_transcript(TWO, "json"))
    assert Document.model_validate(written) == TWO
    assert written["format"] == "habla_ml.transcript/1"


def test_a_segment_without_text_shows_a_marker():
    document = make_document((1.0, 2.0, ""), tags=("inaudible",))
    assert format_transcript(document, "txt") == "[inaudible]\n"
    assert read_vtt(document) == [("00:00:01.000", "00:00:02.000", "[inaudible]")]
    assert read_srt(document)[0][2] == "[inaudible]"


def test_webvtt_marks_the_speaker_and_low_confidence():
    for name in ("Ana López", "<b> & --> Co", "a\nb"):
        written = format_transcript(make_document((1.0, 2.0, "hola"), speaker=name, tags=("low_confidence",)), "vtt")
        (cue,) = webvtt.from_string(written)
        assert html.unescape(cue.voice) == " ".join(name.split())
        assert cue.text == "hola"
        assert "<c.low_confidence>hola</c>" in cue.raw_text


@pytest.mark.parametrize(
    "text",
    [
        "a --> b",
        "00:00:01.000 --> 00:00:02.000",
        "<i>x</i> & <v Eva>y &amp;",
        "una\n\n2\n00:00:05,000 --> 00:00:06,000\notra",
        "NOTE no es una nota",
        "WEBVTT",
        "7",
        "a\u2028b\r\rc\x85d",
    ],
)
def test_text_cannot_end_a_cue_start_another_or_become_a_tag(text):
    plain = " ".join(text.split())
    document = make_document((1.0, 2.0, text), (5.0, 6.0, "después"))
    assert read_vtt(document) == [
        ("00:00:01.000", "00:00:02.000", plain),
        ("00:00:05.000", "00:00:06.000", "después"),
    ]
    assert [each[2] for each in read_srt(document)] == [plain.replace("-->", "→"), "después"]


def test_a_cue_lasts_at_least_a_millisecond():
    assert read_vtt(make_document((1.0, 1.0, "a"))) == [("00:00:01.000", "00:00:01.001", "a")]


@given(st.lists(st.tuples(st.integers(0, 400_000_000), st.integers(1, 60_000)), max_size=6))
def test_times_are_kept_to_the_millisecond(times):
    document = make_document(*((at / 1000, (at + long) / 1000, "sí") for at, long in times))
    expected = [(timedelta(milliseconds=at), timedelta(milliseconds=at + long)) for at, long in sorted(times)]
    assert sorted((start, end) for start, end, _ in read_srt(document)) == expected
    cues = webvtt.from_string(format_transcript(document, "vtt"))
    read = sorted((each.start_in_seconds, each.end_in_seconds) for each in cues)
    assert len(read) == len(expected)
