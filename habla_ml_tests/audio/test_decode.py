"""16-bit samples through FLAC and back, and their identity."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.audio import decode_flac, decode_wav, dequantise, encode_flac, pcm_sha256
from habla_ml.errors import InputError
from habla_ml_tests.testing.encoded_audio import make_pcm16_wav, make_sine, make_wav


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=400))
def test_sixteen_bit_samples_pass_through_wav_and_flac_bit_for_bit(values: list[int]) -> None:
    pcm = np.array(values, dtype=np.int16)
    decoded = decode_wav(make_pcm16_wav(pcm), max_duration_s=30)
    returned = decode_flac(encode_flac(decoded))
    assert np.array_equal(decoded, pcm)
    assert np.array_equal(returned, dequantise(decoded))
    assert pcm_sha256(returned) == pcm_sha256(decoded)


def test_pcm_sha256_is_the_sha256_of_the_little_endian_pcm() -> None:
    pcm = np.array([0, 1, -1, 32767, -32768], dtype=np.int16)
    expected = hashlib.sha256(b"\x00\x00\x01\x00\xff\xff\xff\x7f\x00\x80").hexdigest()
    assert pcm_sha256(decode_wav(make_pcm16_wav(pcm), 30)) == expected


def test_flac_of_another_format_is_refused() -> None:
    with pytest.raises(InputError, match="FLAC"):
        decode_flac(b"fLaC nonsense")
    with pytest.raises(InputError, match="8000 Hz"):
        decode_flac(make_wav(make_sine(rate=8000), 8000, form="FLAC"))
    with pytest.raises(InputError, match="no samples"):
        encode_flac(np.zeros(0, dtype=np.float32))
