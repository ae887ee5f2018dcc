from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.transcription.engine import Hypothesis, RecognisedWord
from habla_ml.transcription.speech_clips import SpeechClip
from habla_ml.transcription.transcript import Segment, build_segments


def make_segment(text: str, line_width: int = 42, start_s: float = 0.0, **hypothesis: object) -> Segment:
    """The segment of a clip of 4 s; unless `words` is given, its words have equal durations with pauses of a tenth."""
    words = text.split()
    each_s = 4.0 / max(len(words), 1)
    timed = tuple(RecognisedWord(word, at * each_s, (at + 0.9) * each_s) for at, word in enumerate(words))
    found = Hypothesis(
        **{"audio_sha256": "0" * 64, "text": text, "decode_s": 0.1, "duration_s": 4.0, "words": timed} | hypothesis
    )
    clip = SpeechClip(start_s, np.zeros(64_000, np.int16))
    return build_segments([(clip, found)], language="es", line_width=line_width, low_confidence_below=-0.7)[0]


def test_words_keep_their_times_in_the_recording():
    segment = make_segment("la libreta azul es mía", 12, start_s=10.0)
    assert [line.text for line in segment.lines] == ["la libreta", "azul es mía"]
    assert (segment.text, segment.start_s, segment.end_s) == ("la libreta azul es mía", 10.0, 13.92)
    assert [(line.start_s, line.end_s) for line in segment.lines] == [(10.0, 11.52), (11.6, 13.92)]
    assert [word.text for word in segment.lines[1].words] == ["azul", "es", "mía"]


def test_a_word_longer_than_a_line_keeps_its_own_line():
    segment = make_segment("el electroencefalografista vino ya", 10)
    assert [line.text for line in segment.lines] == ["el", "electroencefalografista", "vino ya"]


@pytest.mark.parametrize("words", [(), (RecognisedWord("bb", 1.0, 2.0),)])
def test_without_times_of_all_words_lines_share_the_clip_by_their_characters(words):
    segment = make_segment("aaaa bb", 4, start_s=1.0, words=words)
    assert [(line.text, line.start_s, line.end_s, line.words) for line in segment.lines] == [
        ("aaaa", 1.0, 3.667, ()),
        ("bb", 3.667, 5.0, ()),
    ]


@pytest.mark.parametrize(
    ("hypothesis", "tags"),
    [
        ({"text": "hola", "avg_logprob": -0.71}, ("low_confidence",)),
        ({"text": "hola", "avg_logprob": -0.7}, ()),
        ({"text": "hola"}, ()),
        ({"text": " ", "avg_logprob": -2.0}, ("inaudible",)),
        ({"text": "", "failure": "timeout", "reason": "took longer"}, ("failed",)),
    ],
)
def test_tags_state_confidence_and_failures(hypothesis, tags):
    segment = make_segment(**hypothesis)
    assert (segment.tags, segment.reason) == (tags, hypothesis.get("reason"))
    assert (segment.start_s, segment.end_s) == (0.0, 3.6 if segment.text else 4.0)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=9), min_size=1),
    st.integers(1, 30),
    st.booleans(),
)
def test_lines_keep_all_words_in_order_and_are_as_full_as_the_width_allows(words, width, is_timed):
    segment = make_segment(" ".join(words), width, **({} if is_timed else {"words": ()}))
    lines = [line.text for line in segment.lines]
    assert " ".join(lines).split(" ") == words
    assert all(len(line) <= width or " " not in line for line in lines)
    for line, after in pairwise(lines):
        assert len(line) + 1 + len(after.split(" ")[0]) > width, "the first word of the next line fits"
    assert Segment.model_validate_json(segment.model_dump_json()) == segment
