"""Our SRT and WebVTT, read by the libraries that others use and by ourselves."""

from datetime import timedelta

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.errors import InputError
from habla_ml.transcription.subtitles import read_srt, read_vtt, to_srt, to_vtt
from habla_ml.transcription.transcript import Document, Line, Segment


def document(*cues: tuple[float, float, str], speaker: str | None = None) -> Document:
    segments = tuple(
        Segment(
            text=text,
            start_s=start_s,
            end_s=end_s,
            speaker=speaker,
            lines=(Line(text=text, start_s=start_s, end_s=end_s, words=()),),
        )
        for start_s, end_s, text in cues
    )
    return Document(text=" ".join(each.text for each in segments), start_s=0, end_s=9, segments=segments)


def list_cues(found: Document) -> list[tuple[float, float, str]]:
    return [(each.start_s, each.end_s, each.text) for each in found.segments]


TWO = document((0.5, 1.9996, "¿Qué tal, niños?"), (3661.25, 3662.0, "Muy bien."))
HOSTILE = (
    "a --> b",
    "00:00:01.000 --> 00:00:02.000",
    "<i>x</i> & <v Eva>y &amp;",
    "una\n\n2\n00:00:05,000 --> 00:00:06,000\notra",
    "NOTE no es una nota",
    "WEBVTT",
    "7",
    "STYLE",
    "a\u2028b\r\rc\x85d",
    "-->",
)


def test_srt_and_webvtt_are_as_published():
    assert to_srt(TWO) == (
        "1\n00:00:00,500 --> 00:00:02,000\n¿Qué tal, niños?\n\n2\n01:01:01,250 --> 01:01:02,000\nMuy bien.\n"
    )
    assert to_vtt(TWO.model_copy(update={"segments": TWO.segments[:1]})) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.000\n¿Qué tal, niños?\n"
    )


def test_others_read_what_we_write():
    assert [(each.start, each.end, each.content) for each in srt.parse(to_srt(TWO))] == [
        (timedelta(seconds=0.5), timedelta(seconds=2), "¿Qué tal, niños?"),
        (timedelta(seconds=3661.25), timedelta(seconds=3662), "Muy bien."),
    ]
    assert [(each.start, each.end, each.text) for each in webvtt.from_string(to_vtt(TWO))] == [
        ("00:00:00.500", "00:00:02.000", "¿Qué tal, niños?"),
        ("01:01:01.250", "01:01:02.000", "Muy bien."),
    ]


def test_we_read_what_others_write():
    others = srt.compose([srt.Subtitle(7, timedelta(seconds=1), timedelta(seconds=2.5), "una línea\ny otra")])
    for text in (others, others.replace("\n", "\r\n"), "\ufeff" + others):
        found = read_srt(text)
        assert list_cues(found) == [(1.0, 2.5, "una línea y otra")]
        assert [line.text for line in found.segments[0].lines] == ["una línea", "y otra"]
    vtt = (
        "WEBVTT - título\nKind: captions\n\nNOTE nada\n\nSTYLE\n::cue {}\n\nuno\n00:01.000 --> 00:02.500 align:start\n"
        "<v.loud Ana López>¡Hola &amp; <b>adiós</b>!\n\n00:00:03.000 --> 00:00:04.000\n- sí\n"
    )
    found = read_vtt(vtt)
    assert list_cues(found) == [(1.0, 2.5, "¡Hola & adiós!"), (3.0, 4.0, "- sí")]
    assert [each.speaker for each in found.segments] == ["Ana López", None]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_can_end_a_cue_open_another_or_become_a_tag(text):
    plain = " ".join(text.split())
    written = document((1.0, 2.0, text), (5.0, 6.0, "después"))
    vtt, srt_file = to_vtt(written), to_srt(written)
    assert list_cues(read_vtt(vtt)) == [(1.0, 2.0, plain), (5.0, 6.0, "después")]
    cues = webvtt.from_string(vtt)
    assert [(each.start, each.end) for each in cues] == [
        ("00:00:01.000", "00:00:02.000"),
        ("00:00:05.000", "00:00:06.000"),
    ]
    assert "-->" not in cues[0].raw_text
    assert "<" not in cues[0].raw_text
    in_srt = plain.replace("-->", "→")
    assert list_cues(read_srt(srt_file)) == [(1.0, 2.0, in_srt), (5.0, 6.0, "después")]
    assert [each.content for each in srt.parse(srt_file)] == [in_srt, "después"]


def test_a_speaker_is_a_voice_whatever_the_name():
    for name in ("Ana López", "<b> & --> Co", "a\nb"):
        vtt = to_vtt(document((1.0, 2.0, "hola"), speaker=name))
        assert read_vtt(vtt).segments[0].speaker == " ".join(name.split())
        assert len(webvtt.from_string(vtt)) == 1


def test_a_cue_lasts_and_an_empty_one_is_left_out():
    written = document((1.0, 1.0, "a"), (2.0, 3.0, " \n "))
    assert list_cues(read_vtt(to_vtt(written))) == [(1.0, 1.001, "a")]
    assert read_srt(to_srt(document())).segments == ()


def test_another_file_is_refused():
    with pytest.raises(InputError, match="is no WebVTT"):
        read_vtt(to_srt(TWO))
    with pytest.raises(InputError, match="is no SRT"):
        read_srt("hola\n\nadiós\n")


@given(
    st.lists(
        st.tuples(
            st.integers(0, 400_000_000), st.integers(1, 60_000), st.text(st.characters(codec="utf-8"), max_size=60)
        ),
        max_size=6,
    )
)
def test_texts_and_times_come_back_to_the_millisecond(cues):
    written = document(*((at / 1000, (at + long) / 1000, text) for at, long, text in cues))
    expected = [(at / 1000, (at + long) / 1000, " ".join(text.split())) for at, long, text in cues if text.split()]
    found = list_cues(read_vtt(to_vtt(written)))
    assert [text for *_, text in found] == [text for *_, text in expected]
    assert [times for *times, _ in found] == [pytest.approx(times) for *times, _ in expected]
    if not any("-->" in text for *_, text in expected):
        assert list_cues(read_srt(to_srt(written))) == found
