"""WAV files of every common format, with anything around their samples, and broken ones."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.audio import SAMPLE_RATE, decode_wav, dequantise
from habla_ml.errors import InputError
from habla_ml_tests.testing.encoded_audio import (
    make_pcm16_wav,
    make_sine,
    make_wav,
    make_wav_chunks,
    pipe_wav_from_ffmpeg,
)

PIPE_SIZES = [0xFFFFFFFF, 0xFFFFFFFF - 36, 0x80000000, 0x7FFFFFFF, 0x7FFFF000]
PCM = np.random.default_rng(3).integers(-9000, 9000, 2000).astype("<i2")


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


def test_floats_slightly_beyond_full_scale_are_clipped() -> None:
    loud = np.array([0, 1.2, -2.0], dtype=np.float32)
    assert decode_wav(make_wav(loud, subtype="FLOAT"), 30).tolist() == [0, 32767, -32768]


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([0, np.nan], "finite"),
        ([0, -np.inf], "finite"),
        ([0.5, -2.1], r"up to ±2\.1, floats must be within −1…1 .*normalise"),
        ([0.0, 150.0, -20_000.0], r"up to ±20000.*integers were stored as floats; divide them by 32768"),
        ([0, 1e9], r"up to ±1e\+09.*normalise"),
    ],
)
def test_floats_that_are_not_finite_or_far_beyond_full_scale_are_refused(
    samples: list[float], reason: str, subtype: str
) -> None:
    with pytest.raises(InputError, match=reason):
        decode_wav(make_wav(np.array(samples), subtype=subtype), 30)


def test_a_loud_channel_is_refused_even_if_the_other_one_cancels_it() -> None:
    with pytest.raises(InputError, match="up to ±3"):
        decode_wav(make_wav(np.array([[3.0, -3.0], [0.1, 0.1]]), subtype="FLOAT"), 30)


TAILS = {
    "zeros up to a sector": bytes(4096 - 44 - 4000),
    "one byte": b"\xff",
    "stray bytes": b"\xff\xfe\x01\x02\x03\x04\x05\x06\x07\x08\x09",
    "an ID3v1 tag": b"TAG" + b"x" * 125,
    "a LIST chunk that is cut off": b"LIST" + struct.pack("<I", 300) + b"INFO",
    "a LIST chunk without padding": b"LIST" + struct.pack("<I", 7) + b"INFOabc",
    "a header of a chunk that is cut off": b"LIS",
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS.keys())
def test_whatever_follows_the_samples_a_whole_wav_is_whole(tail: bytes) -> None:
    data = make_wav_chunks(PCM.tobytes(), riff_size=0xFFFF, after=tail)
    assert np.array_equal(decode_wav(data, 30), PCM)
    assert np.array_equal(soundfile.read(io.BytesIO(data), dtype="int16")[0], PCM)


@pytest.mark.parametrize("size", PIPE_SIZES, ids=hex)
@pytest.mark.parametrize("riff_size", [0, 35, 0xFFFFFFFF, 0x7FFFF024, 36 + 4000], ids=hex)
def test_a_wav_from_a_pipe_is_read_to_its_end(size: int, riff_size: int) -> None:
    assert np.array_equal(decode_wav(make_wav_chunks(PCM.tobytes(), size, riff_size), 30), PCM)
    # The last byte is half a sample.
    assert np.array_equal(decode_wav(make_wav_chunks(PCM.tobytes()[:-1], size, 0xFFFFFFFF), 30), PCM[:-1])


def test_a_wav_that_ffmpeg_writes_to_a_pipe_is_read() -> None:
    assert np.array_equal(decode_wav(pipe_wav_from_ffmpeg(PCM), 30), PCM)


def test_a_wav_from_a_pipe_with_sizes_of_0_is_read_to_its_end() -> None:
    assert np.array_equal(decode_wav(make_wav_chunks(PCM.tobytes(), 0, 0), 30), PCM)


def test_a_tag_at_the_end_of_a_wav_from_a_pipe_is_no_sound() -> None:
    data = make_wav_chunks(PCM.tobytes(), 0xFFFFFFFF, 0xFFFFFFFF, after=b"TAG" + b"x" * 125)
    assert np.array_equal(decode_wav(data, 30), PCM)


def test_a_real_riff_size_bounds_samples_of_unknown_size() -> None:
    data = make_wav_chunks(PCM.tobytes(), 0xFFFFFFFF, 36 + 4000, after=b"stray bytes")
    assert np.array_equal(decode_wav(data, 30), PCM)
    with pytest.raises(InputError, match=r"cut off.*4036 bytes of 'RIFF', the file holds 4034"):
        decode_wav(make_wav_chunks(PCM.tobytes()[:-2], 0xFFFFFFFF, 36 + 4000), 30)


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
def test_rf64_and_bw64_have_their_sizes_in_ds64(magic: bytes) -> None:
    def make(riff_size: int, data_size: int, samples: bytes) -> bytes:
        ds64 = struct.pack("<4sIQQQI", b"ds64", 28, riff_size, data_size, 0, 0)
        return make_wav_chunks(samples, 0xFFFFFFFF, 0xFFFFFFFF, before=ds64, after=b"stray", magic=magic)

    assert np.array_equal(decode_wav(make(4072, 4000, PCM.tobytes()), 30), PCM)
    with pytest.raises(InputError, match=r"cut off.*4000 bytes.*holds 3005"):
        decode_wav(make(4072, 4000, PCM.tobytes()[:3000]), 30)
    assert len(decode_wav(make(0, 0, PCM.tobytes()), 30)) == len(PCM) + 2  # the five bytes cannot be told from sound


def test_rf64_of_libsndfile_is_read() -> None:
    assert np.array_equal(decode_wav(make_wav(PCM, form="RF64"), 30), PCM)


def test_an_odd_chunk_before_the_samples_is_padded() -> None:
    data = make_wav_chunks(PCM.tobytes(), before=b"JUNK" + struct.pack("<I", 7) + b"seven..\0")
    assert np.array_equal(decode_wav(data, 30), PCM)


def test_a_wav_that_declares_other_bits_than_bytes_is_refused() -> None:
    # libsndfile reads this one as 8-bit sound of twice the length.
    with pytest.raises(InputError, match="2 bytes a frame for 1 channels of 8 bits"):
        decode_wav(make_wav_chunks(PCM.tobytes(), bits=8), 30)


@given(
    tail=st.one_of(st.binary(max_size=300), st.sampled_from(list(TAILS.values()))),
    missing=st.integers(1, 4000),
    form=st.sampled_from(["PCM_16", "PCM_24", "FLOAT", "ALAW"]),
)
def test_no_tail_changes_the_samples_and_every_missing_sample_is_noticed(tail: bytes, missing: int, form: str) -> None:
    whole = make_wav(dequantise(PCM), subtype=form)
    expected = decode_wav(whole, 30)
    assert np.array_equal(decode_wav(whole + tail, 30), expected)
    assert len(soundfile.read(io.BytesIO(whole + tail))[0]) == len(expected)
    with pytest.raises(InputError, match="cut off"):
        decode_wav(whole[: len(whole) - min(missing, len(PCM))], 30)


@given(at=st.integers(4, 43), value=st.integers(0, 255), tail=st.binary(max_size=50))
def test_a_damaged_header_gives_the_samples_of_libsndfile_or_an_error(at: int, value: int, tail: bytes) -> None:
    data = bytearray(make_wav_chunks(PCM.tobytes(), after=tail))
    data[at] = value
    try:
        ours = decode_wav(bytes(data), 30)
        theirs, rate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
    except (InputError, soundfile.LibsndfileError):
        return
    if rate == SAMPLE_RATE and theirs.shape[1] == 1:
        assert np.array_equal(ours, theirs[:, 0])


@given(st.binary(max_size=200), st.integers(0, 60))
def test_damaged_bytes_are_refused_or_decoded_but_never_crash(noise: bytes, at: int) -> None:
    data = bytearray(make_pcm16_wav(np.arange(50, dtype=np.int16)))
    data[at : at + len(noise)] = noise
    try:
        pcm = decode_wav(bytes(data), 30)
    except InputError:
        return
    assert len(pcm) > 0
