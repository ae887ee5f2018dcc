"""Other formats than WAV are decoded in a child process within limits."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from habla_ml.audio import SAMPLE_RATE, AudioDecoder, decode_wav, dequantise, detect_container
from habla_ml.errors import InputError
from habla_ml_tests.testing.encoded_audio import ENCODERS, encode_audio_file


@pytest.fixture(scope="module")
def decoder() -> Iterator[AudioDecoder]:
    with AudioDecoder() as decoder:
        yield decoder


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (48_000, 1), (16_000, 1)])
def test_each_format_is_decoded_to_16_khz_mono_with_its_duration_pitch_and_level(
    decoder: AudioDecoder, kind: str, rate: int, channels: int
) -> None:
    samples = decoder.decode(encode_audio_file(kind, 2.0, rate, channels), 30.0)
    assert samples.dtype == np.int16
    # AAC pads its first and last frame: 1,024 samples each, which ADTS has no way to declare.
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.0, abs=0.13 if kind in {"m4a", "mp4", "aac"} else 0.03)
    spectrum = np.abs(np.fft.rfft(samples))
    assert int(spectrum.argmax()) * SAMPLE_RATE / len(samples) == pytest.approx(440, abs=1.5)
    middle = dequantise(samples)[len(samples) // 4 : -len(samples) // 4]
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.3, rel=0.1)


def test_flac_at_16_khz_is_restored_bit_for_bit_and_wav_needs_no_child_process() -> None:
    samples = np.random.default_rng(1).integers(-9000, 9000, 8000).astype(np.int16)
    flac, wav = io.BytesIO(), io.BytesIO()
    soundfile.write(flac, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    soundfile.write(wav, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    with AudioDecoder() as decoder:
        from_wav = decoder.decode(wav.getvalue(), 30.0)
        assert decoder.pid is None
        assert np.array_equal(from_wav, decode_wav(wav.getvalue(), 30.0))
        assert np.array_equal(decoder.decode(flac.getvalue(), 30.0), from_wav)
        assert decoder.pid is not None


@pytest.mark.parametrize("kind", ["opus", "flac", "webm", "m4a"])
def test_four_minutes_of_silence_in_few_bytes_are_refused_before_decoding(decoder: AudioDecoder, kind: str) -> None:
    bomb = encode_audio_file(kind, 240, 16_000, level=0.0)
    assert len(bomb) < 500_000
    started = time.perf_counter()
    with pytest.raises(InputError, match=r"lasts 240\.\d s, more than the 30 s allowed"):
        decoder.decode(bomb, 30.0)
    assert time.perf_counter() - started < 5


def test_a_flac_without_declared_duration_is_decoded_up_to_the_limit_only(decoder: AudioDecoder) -> None:
    bomb = bytearray(encode_audio_file("flac", 300, 16_000, level=0.0))
    # STREAMINFO starts at byte 8; its number of samples has 36 bits from byte 13 on, 0 means unknown (RFC 9639).
    bomb[21] &= 0xF0
    bomb[22:26] = bytes(4)
    with pytest.raises(InputError, match="lasts longer than the 30 s allowed"):
        decoder.decode(bytes(bomb), 30.0)
    short = bytearray(encode_audio_file("flac", 2, 16_000))
    short[21] &= 0xF0
    short[22:26] = bytes(4)
    assert len(decoder.decode(bytes(short), 30.0)) == 2 * SAMPLE_RATE


@pytest.mark.parametrize("kind", sorted(ENCODERS.keys() - {"aac"}))  # bare ADTS declares no duration
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
def test_a_cut_off_file_is_refused_and_never_decoded_partially(decoder: AudioDecoder, kind: str, share: float) -> None:
    whole = encode_audio_file(kind, 3.0, 16_000)
    with pytest.raises(InputError, match=r"cut off|no sound"):
        decoder.decode(whole[: int(len(whole) * share)], 30.0)


def test_a_playlist_or_text_opens_no_other_file(decoder: AudioDecoder, tmp_path: Path) -> None:
    secret = tmp_path / "other.flac"
    secret.write_bytes(encode_audio_file("flac", 1.0, 16_000))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile {secret}\n".encode()
    for data in (playlist, concat, b"ID3" + playlist, b"\0\0\0\x10ftypM4A " + playlist, b"OggS" + playlist, b""):
        with pytest.raises(InputError):
            decoder.decode(data, 30.0)


@pytest.mark.parametrize("kind", ENCODERS)
def test_damaged_bytes_give_an_error_or_bounded_audio_and_never_a_crash(decoder: AudioDecoder, kind: str) -> None:
    whole = encode_audio_file(kind, 1.0, 16_000)
    random = np.random.default_rng(7)
    for _ in range(10):
        damaged = bytearray(whole)
        for at in random.integers(12, len(whole), 30):
            damaged[at] = random.integers(256)
        try:
            assert len(decoder.decode(bytes(damaged), 5.0)) <= 5 * SAMPLE_RATE
        except InputError as error:
            assert str(error)  # noqa: PT017
    assert len(decoder.decode(whole, 5.0))


def test_a_child_that_hangs_is_killed_and_the_next_file_is_decoded() -> None:
    clip = encode_audio_file("opus", 1.0)
    with AudioDecoder(wall_limit_s=3.0) as decoder:
        decoder.decode(clip, 30.0)
        assert decoder.pid is not None
        os.kill(decoder.pid, signal.SIGSTOP)
        with pytest.raises(InputError, match="longer than 3 s"):
            decoder.decode(clip, 30.0)
        assert len(decoder.decode(clip, 30.0)) == pytest.approx(SAMPLE_RATE, abs=400)


def test_a_child_that_died_is_replaced_and_none_remains() -> None:
    clip = encode_audio_file("flac", 1.0)
    with AudioDecoder() as decoder:
        decoder.decode(clip, 30.0)
        first = decoder.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        while decoder.pid is not None:
            time.sleep(0.01)
        assert len(decoder.decode(clip, 30.0)) == SAMPLE_RATE
        second = decoder.pid
        assert second not in {None, first}
    assert second is not None
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_the_child_has_limits_of_memory_and_processor_time(decoder: AudioDecoder) -> None:
    decoder.decode(encode_audio_file("flac", 1.0), 30.0)
    limits = Path(f"/proc/{decoder.pid}/limits").read_text()
    limits_by_name = {line[:25].strip(): line[26:].split() for line in limits.splitlines()[1:]}
    assert limits_by_name["Max address space"][:2] == [str(1 << 30)] * 2
    assert int(limits_by_name["Max cpu time"][0]) <= 60
    assert limits_by_name["Max core file size"][0] == "0"


def test_a_file_above_the_memory_limit_is_refused_and_the_decoder_still_works() -> None:
    with AudioDecoder() as decoder:
        with pytest.raises(InputError, match=r"memory|cannot be decoded|damaged"):
            decoder.decode(b"fLaC" + bytes(300 << 20), 30.0)
        assert len(decoder.decode(encode_audio_file("flac", 1.0), 30.0)) == SAMPLE_RATE


@pytest.mark.parametrize(
    ("start", "container"),
    [
        (b"RIFF\0\0\0\0WAVE", "wav"),
        (b"\xff\xfb\x90\x00", "mp3"),
        (b"\xff\xf1\x50\x80", "aac"),
        (b"\xff\xf9\x50\x80", "aac"),
        (b"ID3\x04", "mp3"),
        (b"\0\0\0\x20ftypisom", "mp4"),
    ],
)
def test_the_container_is_detected_from_the_first_bytes(start: bytes, container: str) -> None:
    assert detect_container(start) == container
