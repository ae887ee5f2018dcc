import re

import numpy as np
import pytest
from num2words import num2words

from habla_ml.demo.grammar import SpeechRegister, generate_sentence, spell_number
from habla_ml.demo.speech_synthesis import SAMPLE_RATE_HZ, SynthesisVoice, synthesize_speech, text_to_phonemes


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    rng = np.random.default_rng(0)
    return [generate_sentence(register, rng) for _ in range(4000) for register in SpeechRegister]


def test_thousands_of_sentences_and_hundreds_of_words(sentences):
    assert len(set(sentences)) > 7_000
    assert len({word for text in sentences for word in re.findall(r"[^\W\d_]+", text.lower())}) > 600


def test_sentences_follow_spanish_spelling(sentences):
    for text in sentences:
        assert text[-1] in ".?!", text
        assert text.count("¿") == text.count("?"), text
        assert text.count("¡") == text.count("!"), text
        assert next(character for character in text if character.isalpha()).isupper(), text
        assert "{" not in text
        assert "  " not in text
        assert not any(character.isdigit() for character in text), text


@pytest.mark.long
def test_sentences_last_two_to_four_seconds(sentences):
    voice = SynthesisVoice("m3", 172, 50, 50)
    durations_s = [len(synthesize_speech(text_to_phonemes(text), voice)) / SAMPLE_RATE_HZ for text in sentences[:60]]
    assert min(durations_s) > 1.0
    assert max(durations_s) < 5.5
    assert 2.0 < np.median(durations_s) < 3.5


def test_numbers_are_spelt_as_num2words_does():
    assert [spell_number(number) for number in range(200)] == [num2words(number, lang="es") for number in range(200)]


def test_a_number_out_of_range_is_refused():
    with pytest.raises(ValueError, match="200"):
        spell_number(200)


def test_the_same_seed_gives_the_same_sentences():
    first, again = (
        [generate_sentence(SpeechRegister.TEACHER, rng) for _ in range(20)]
        for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert first == again
