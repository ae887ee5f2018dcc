"""WAV files of every common format, and broken ones."""

from __future__ import annotations

import hashlib
import io
import struct
import wave

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from habla_ml.audio import SAMPLE_RATE, decode_flac, decode_wav, dequantise, encode_flac, pcm_sha256
from habla_ml.errors import InputError


def make_sine(
    seconds: float = 0.5, rate: int = SAMPLE_RATE, hertz: float = 440.0, level: float = 0.5
) -> NDArray[np.float32]:
    at = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def make_wav(
    samples: NDArray[np.generic], rate: int = SAMPLE_RATE, subtype: str = "PCM_16", form: str = "WAV"
) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=form, subtype=subtype)
    return out.getvalue()


def make_pcm16_wav(pcm: NDArray[np.int16]) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm.astype("<i2").tobytes())
    return out.getvalue()


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


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [("PCM_U8", 1 / 120), ("PCM_16", 1e-4), ("PCM_24", 2e-5), ("PCM_32", 2e-5), ("FLOAT", 2e-5), ("DOUBLE", 2e-5)],
)
@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
def test_every_sample_format_decodes_to_the_same_tone(subtype: str, tolerance: float, form: str) -> None:
    decoded = decode_wav(make_wav(make_sine(), subtype=subtype, form=form), 30)
    assert decoded.dtype == np.int16
    assert dequantise(decoded) == pytest.approx(make_sine(), abs=tolerance)


def test_stereo_becomes_the_mean_of_its_channels() -> None:
    left, right = make_sine(level=0.6), make_sine(level=0.2)
    decoded = decode_wav(make_wav(np.stack([left, right], axis=1)), 30)
    assert dequantise(decoded) == pytest.approx(make_sine(level=0.4), abs=1e-4)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled_to_16_khz_at_the_same_pitch(rate: int) -> None:
    decoded = decode_wav(make_wav(make_sine(1.0, rate), rate), 30)
    assert len(decoded) == pytest.approx(SAMPLE_RATE, abs=2)
    inner = slice(1600, 14400)
    assert dequantise(decoded)[inner] == pytest.approx(make_sine(1.0)[: len(decoded)][inner], abs=2e-3)


def test_other_chunks_before_and_after_the_samples_are_skipped() -> None:
    plain = make_pcm16_wav(np.arange(10, dtype=np.int16))
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\x00"
    with_chunks = plain[:12] + extra + plain[12:] + extra
    assert np.array_equal(decode_wav(with_chunks, 30), decode_wav(plain, 30))


@pytest.mark.parametrize("keep", [44 + 1, 44 + 999, 44 + 15_998])
def test_a_wav_with_missing_samples_is_refused_with_both_sizes(keep: int) -> None:
    data = make_pcm16_wav(np.ones(8000, dtype=np.int16))
    with pytest.raises(InputError, match=rf"cut off.*16000 bytes.*holds {keep - 44}"):
        decode_wav(data[:keep], 30)


def test_a_wav_whose_writer_died_before_patching_the_size_is_refused() -> None:
    data = bytearray(make_pcm16_wav(np.ones(8000, dtype=np.int16)))
    data[40:44] = struct.pack("<I", 0)
    with pytest.raises(InputError, match=r"cut off.*0 bytes.*16000"):
        decode_wav(bytes(data), 30)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"Hola, esto es texto y no audio.", "no WAV"),
        (b"RIFF\x00\x00\x00\x00WAVE", "no fmt chunk"),
        (b"RIFF\x00\x00\x00\x00WAVEfm", "cut off"),
        (make_pcm16_wav(np.zeros(0, dtype=np.int16)), "no sound"),
        (make_wav(make_sine(), subtype="IMA_ADPCM"), "format 0x0011"),
        (b"RIFF" + b"\xff" * 400, "no WAV"),
    ],
)
def test_bytes_without_audio_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        decode_wav(data, 30)


def test_a_declared_rate_or_channel_count_of_zero_is_refused() -> None:
    data = bytearray(make_pcm16_wav(np.ones(10, dtype=np.int16)))
    data[24:28] = struct.pack("<I", 0)
    with pytest.raises(InputError, match="0 Hz"):
        decode_wav(bytes(data), 30)
    data = bytearray(make_pcm16_wav(np.ones(10, dtype=np.int16)))
    data[22:24] = struct.pack("<H", 0)
    with pytest.raises(InputError, match="0 channels"):
        decode_wav(bytes(data), 30)


def test_a_recording_longer_than_allowed_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(InputError, match=r"lasts 2\.0 s.*1\.5 s"):
        decode_wav(make_wav(make_sine(2.0)), max_duration_s=1.5)


def test_floats_that_are_not_finite_are_refused_and_loud_ones_clipped() -> None:
    with pytest.raises(InputError, match="finite"):
        decode_wav(make_wav(np.array([0, np.nan], dtype=np.float32), subtype="FLOAT"), 30)
    assert decode_wav(make_wav(np.array([0, 3, -3], dtype=np.float32), subtype="FLOAT"), 30).tolist() == [
        0,
        32767,
        -32768,
    ]


@given(st.binary(max_size=200), st.integers(0, 60))
def test_damaged_bytes_are_refused_or_decoded_but_never_crash(noise: bytes, at: int) -> None:
    data = bytearray(make_pcm16_wav(np.arange(50, dtype=np.int16)))
    data[at : at + len(noise)] = noise
    try:
        pcm = decode_wav(bytes(data), 30)
    except InputError:
        return
    assert len(pcm) > 0


def test_flac_of_another_format_is_refused() -> None:
    with pytest.raises(InputError, match="FLAC"):
        decode_flac(b"fLaC nonsense")
    with pytest.raises(InputError, match="8000 Hz"):
        decode_flac(make_wav(make_sine(rate=8000), 8000, form="FLAC"))
    with pytest.raises(InputError, match="no samples"):
        encode_flac(np.zeros(0, dtype=np.float32))
