from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.errors import InputError
from habla_ml.transcription.engine import Hypothesis, RecognisedWord
from habla_ml.transcription.transcript import Document, TranscribedClip, build_document


def make_hypothesis(text: str, duration_s: float = 4.0, timed: bool = True) -> Hypothesis:
    """Words of equal length in time, with a pause of a tenth between them."""
    words = text.split()
    each_s = duration_s / max(len(words), 1)
    times = tuple(RecognisedWord(word, at * each_s, (at + 0.9) * each_s) for at, word in enumerate(words))
    return Hypothesis("0" * 64, text, 0.1, duration_s, words=times if timed else ())


def test_a_clip_is_a_segment_and_its_words_keep_their_times_in_the_recording():
    document = build_document(
        [
            TranscribedClip(make_hypothesis("la libreta azul es mía"), 10.0, "Ana"),
            TranscribedClip(make_hypothesis("sí", 1.0), 20.0),
        ],
        12,
    )
    first, second = document.segments
    assert [line.text for line in first.lines] == ["la libreta", "azul es mía"]
    assert (first.speaker, first.text, first.start_s) == ("Ana", "la libreta azul es mía", 10.0)
    assert first.lines[0].end_s == pytest.approx(10 + 1.9 * 0.8)
    assert first.lines[1].start_s == pytest.approx(10 + 2 * 0.8)
    assert [word.text for word in first.lines[1].words] == ["azul", "es", "mía"]
    assert (second.speaker, second.start_s, second.end_s) == (None, 20.0, pytest.approx(20.9))
    assert (document.text, document.start_s, document.end_s) == (
        "la libreta azul es mía sí",
        10.0,
        pytest.approx(20.9),
    )


def test_a_word_that_is_longer_than_a_line_stands_alone_and_whole():
    document = build_document([TranscribedClip(make_hypothesis("el electroencefalografista vino ya"))], 10)
    assert [line.text for line in document.segments[0].lines] == ["el", "electroencefalografista", "vino ya"]


def test_a_line_may_be_exactly_as_wide_as_asked_for():
    lines = build_document([TranscribedClip(make_hypothesis("ab cd ef"))], 5).segments[0].lines
    assert [line.text for line in lines] == ["ab cd", "ef"]


def test_without_times_of_words_lines_share_the_clip_by_their_characters():
    document = build_document([TranscribedClip(make_hypothesis("aaaa bb", 6.0, timed=False), 1.0)], 4)
    assert [(line.text, line.start_s, line.end_s, line.words) for line in document.segments[0].lines] == [
        ("aaaa", 1.0, 5.0, ()),
        ("bb", 5.0, 7.0, ()),
    ]


def test_where_nothing_was_heard_there_is_no_segment():
    failed = Hypothesis("0" * 64, "", 60.0, 3.0, "timeout", "too long")
    assert build_document([TranscribedClip(failed), TranscribedClip(make_hypothesis(" "))]) == Document(
        text="", start_s=0, end_s=0, segments=()
    )


def test_a_width_of_nothing_is_refused():
    with pytest.raises(InputError, match="0 characters"):
        build_document([TranscribedClip(make_hypothesis("hola"))], 0)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=9), min_size=1),
    st.integers(1, 30),
    st.booleans(),
)
def test_no_word_is_lost_broken_or_moved_and_no_line_is_wider_than_it_must_be(words, width, timed):
    document = build_document([TranscribedClip(make_hypothesis(" ".join(words), timed=timed))], width)
    lines = [line.text for line in document.segments[0].lines]
    assert " ".join(lines).split(" ") == words
    assert all(len(line) <= width or " " not in line for line in lines)
    for line, after in pairwise(lines):
        assert len(line) + 1 + len(after.split(" ")[0]) > width, "it had room for one word more"
    assert Document.model_validate_json(document.model_dump_json()) == document
