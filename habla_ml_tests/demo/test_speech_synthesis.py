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


def test_the_same_words_give_the_same_samples_after_other_speech():
    clauses = text_to_phonemes("Los niños han cogido las tijeras.")
    alone = synthesize_speech(clauses, MAN)
    synthesize_speech(text_to_phonemes("Otra cosa."), SynthesisVoice("f2", 200, 70, 60))
    np.testing.assert_array_equal(alone, synthesize_speech(clauses, MAN))


def test_a_breathy_voice_sounds_the_same_a_second_later():
    clauses = text_to_phonemes("Los niños han cogido las tijeras.")
    breathy = SynthesisVoice("f2", 170, 50, 50)
    first = synthesize_speech(clauses, breathy)
    time.sleep(1.1)  # the default seed of espeak changes each second
    np.testing.assert_array_equal(first, synthesize_speech(clauses, breathy))


def test_a_faster_voice_needs_less_time():
    clauses = text_to_phonemes("Los niños han cogido las tijeras.")
    slow, fast = (synthesize_speech(clauses, SynthesisVoice("m3", rate, 40, 50)) for rate in (140, 210))
    assert 1.2 < len(slow) / len(fast) < 1.8
    assert 1.0 * SAMPLE_RATE_HZ < len(fast) < len(slow) < 4.0 * SAMPLE_RATE_HZ


@pytest.mark.parametrize("variant", sorted({*ADULT_VARIANTS, *CHILD_VARIANTS}))
def test_every_voice_of_the_classroom_exists_and_does_not_clip(variant):
    spoken = synthesize_speech(text_to_phonemes("Hola."), SynthesisVoice(variant, 170, 50, 50))
    assert 0.05 < np.abs(spoken).max() <= 1.0


def test_an_unknown_voice_is_refused_by_name():
    with pytest.raises(InputError, match="no-such-voice"):
        synthesize_speech(text_to_phonemes("Hola."), SynthesisVoice("no-such-voice", 170, 50, 50))


def test_nothing_to_say_is_refused():
    with pytest.raises(InputError, match="no sound"):
        synthesize_speech((), MAN)


def test_words_follow_each_other_with_a_pause_between_clauses():
    text = "Abrid el libro de la página tres, por favor."
    speech = synthesize_timed_speech(text_to_phonemes(text), MAN)
    np.testing.assert_array_equal(speech.samples, synthesize_speech(text_to_phonemes(text), MAN))
    assert len(speech.words_s) == len(text.split())
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(speech.words_s)]
    assert gaps == [0, 0, 0, 0, 0, 0, pytest.approx(0.15, abs=0.05), 0]
    assert speech.words_s[0][0] == 0
    assert speech.words_s[-1][1] == pytest.approx(len(speech.samples) / SAMPLE_RATE_HZ, abs=0.001)


def test_word_times_match_the_samples():
    speech = synthesize_timed_speech(text_to_phonemes("La mesa, la silla."), MAN)
    (_, end_s), (start_s, _) = speech.words_s[1], speech.words_s[2]
    pause = speech.samples[int((end_s + 0.02) * SAMPLE_RATE_HZ) : int((start_s - 0.02) * SAMPLE_RATE_HZ)]
    word = speech.samples[int(speech.words_s[3][0] * SAMPLE_RATE_HZ) : int(speech.words_s[3][1] * SAMPLE_RATE_HZ)]
    assert np.abs(pause).max() < 0.1 * np.abs(word).max()
