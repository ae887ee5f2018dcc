import itertools
import time

import numpy as np
import pytest

from habla_ml.demo.speech_synthesis import (
    SAMPLE_RATE_HZ,
    SynthesisVoice,
    parse_clause,
    synthesize_speech,
    synthesize_timed_speech,
    text_to_phonemes,
    write_clause,
)
from habla_ml.demo.synthesis_voices import ADULT_VARIANTS, CHILD_VARIANTS
from habla_ml.errors import InputError

MAN = SynthesisVoice("m3", rate_wpm=170, pitch=40, pitch_range=50)


def test_castilian_keeps_theta_and_lateral():
    (clause,) = text_to_phonemes("Gracias, llave".replace(",", ""))
    assert clause == (("g", "**", "'a", "T", "j", "a", "s"), ("l^", "'a", "B", "e"))


def test_a_comma_divides_clauses():
    assert [len(clause) for clause in text_to_phonemes("Abrid el libro, por favor.")] == [3, 2]


def test_notation_survives_reading_and_writing():
    written = "l|o|s n|'i|n^|o|s"
    assert write_clause(parse_clause(written)) == written


def test_the_same_words_sound_the_same_whatever_was_said_before():
    said = text_to_phonemes("Los niños han cogido las tijeras.")
    alone = synthesize_speech(said, MAN)
    synthesize_speech(text_to_phonemes("Otra cosa."), SynthesisVoice("f2", 200, 70, 60))
    np.testing.assert_array_equal(alone, synthesize_speech(said, MAN))


def test_a_breathy_voice_sounds_the_same_a_second_later():
    said = text_to_phonemes("Los niños han cogido las tijeras.")
    breathy = SynthesisVoice("f2", 170, 50, 50)
    first = synthesize_speech(said, breathy)
    time.sleep(1.1)  # espeak seeds its breath noise with the second of the day unless told
    np.testing.assert_array_equal(first, synthesize_speech(said, breathy))


def test_a_faster_voice_needs_less_time():
    said = text_to_phonemes("Los niños han cogido las tijeras.")
    slow, fast = (synthesize_speech(said, SynthesisVoice("m3", rate, 40, 50)) for rate in (140, 210))
    assert 1.2 < len(slow) / len(fast) < 1.8
    assert 1.0 * SAMPLE_RATE_HZ < len(fast) < len(slow) < 4.0 * SAMPLE_RATE_HZ


@pytest.mark.parametrize("variant", sorted({*ADULT_VARIANTS, *CHILD_VARIANTS}))
def test_every_voice_of_the_classroom_exists_and_does_not_clip(variant):
    spoken = synthesize_speech(text_to_phonemes("Hola."), SynthesisVoice(variant, 170, 50, 50))
    assert 0.05 < np.abs(spoken).max() <= 1.0


def test_an_unknown_voice_is_refused_by_name():
    with pytest.raises(InputError, match="nobody"):
        synthesize_speech(text_to_phonemes("Hola."), SynthesisVoice("nobody", 170, 50, 50))


def test_nothing_to_say_is_refused():
    with pytest.raises(InputError, match="no sound"):
        synthesize_speech((), MAN)


def test_words_lie_one_behind_the_other_with_a_pause_where_a_clause_ends():
    text = "Abrid el libro de la página tres, por favor."
    said = synthesize_timed_speech(text_to_phonemes(text), MAN)
    np.testing.assert_array_equal(said.samples, synthesize_speech(text_to_phonemes(text), MAN))
    assert len(said.words_s) == len(text.split())
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(said.words_s)]
    assert gaps == [0, 0, 0, 0, 0, 0, pytest.approx(0.15, abs=0.05), 0]
    assert said.words_s[0][0] == 0
    assert said.words_s[-1][1] == pytest.approx(len(said.samples) / SAMPLE_RATE_HZ, abs=0.001)


def test_a_word_is_where_its_sound_is():
    said = synthesize_timed_speech(text_to_phonemes("La mesa, la silla."), MAN)
    (_, end_s), (start_s, _) = said.words_s[1], said.words_s[2]
    pause = said.samples[int((end_s + 0.02) * SAMPLE_RATE_HZ) : int((start_s - 0.02) * SAMPLE_RATE_HZ)]
    word = said.samples[int(said.words_s[3][0] * SAMPLE_RATE_HZ) : int(said.words_s[3][1] * SAMPLE_RATE_HZ)]
    assert np.abs(pause).max() < 0.1 * np.abs(word).max()
