"""Other formats than WAV are decoded in a child process within limits."""

from __future__ import annotations

import io
import itertools
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
from habla_ml_tests.testing.encoded_audio import ENCODERS, encode_audio_file, make_wav


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


PCM = np.random.default_rng(1).integers(-9000, 9000, 8000).astype(np.int16)


@pytest.mark.parametrize("form", ["AIFF", "CAF"])
def test_uncompressed_files_of_apple_are_restored_bit_for_bit_or_are_cut_off(decoder: AudioDecoder, form: str) -> None:
    whole = make_wav(PCM, form=form)
    assert np.array_equal(decoder.decode(whole, 30.0), PCM)
    assert len(decoder.decode(make_wav(PCM[:4000] / 32768, 8000, "FLOAT", form), 30.0)) == 8000
    for missing in (1, 100, len(whole) // 2, len(whole) - 100):
        with pytest.raises(InputError, match=r"cut off|no sound"):
            decoder.decode(whole[:-missing], 30.0)
    with pytest.raises(InputError, match="up to ±9"):
        decoder.decode(make_wav(np.array([[9.5, -9.5]] * 4000), SAMPLE_RATE, "FLOAT", form), 30.0)


ID3V2 = b"ID3\x04\x00\x00" + bytes((0, 0, 1, 2)) + b"\0" * 130
ID3V1 = b"TAG" + b"x" * 125


@pytest.mark.parametrize("kind", ["flac", "mp3", "aac", "opus"])
def test_tags_before_and_after_the_sound_do_not_change_it(decoder: AudioDecoder, kind: str) -> None:
    plain = encode_audio_file(kind, 2.0, 16_000)
    before = ID3V2 if kind != "opus" else b""
    assert np.array_equal(decoder.decode(before + plain + ID3V1, 30.0), decoder.decode(plain, 30.0))


@pytest.mark.parametrize("tail", [b"LYRICSBEGIN" + b"x" * 300 + b"LYRICSEND", bytes(range(200))])
def test_what_follows_the_sound_of_an_mp3_does_not_change_it(decoder: AudioDecoder, tail: bytes) -> None:
    plain = encode_audio_file("mp3", 2.0, 16_000)
    assert np.array_equal(decoder.decode(plain + tail, 30.0), decoder.decode(plain, 30.0))


def test_an_m4a_with_its_index_at_the_end_is_decoded(decoder: AudioDecoder) -> None:
    whole = encode_audio_file("m4a", 2.0, 16_000)
    assert whole.index(b"moov") > whole.index(b"mdat")
    assert len(decoder.decode(whole, 30.0)) / SAMPLE_RATE == pytest.approx(2.0, abs=0.13)


def list_ogg_pages(data: bytes) -> list[bytes]:
    starts = [at for at in range(len(data)) if data.startswith(b"OggS", at)]
    return [data[start:end] for start, end in itertools.pairwise([*starts, len(data)])]


def set_ogg_flags(page: bytes, flags: int) -> bytes:
    """Return the page with other flags and the checksum of RFC 3533, section 6."""
    changed = bytearray(page)
    changed[5], changed[22:26] = flags, bytes(4)
    checksum = 0
    for byte in changed:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum & 1 << 31 else 0)) & 0xFFFFFFFF
    changed[22:26] = checksum.to_bytes(4, "little")
    return bytes(changed)


@pytest.fixture(scope="module")
def opus_pages() -> list[bytes]:
    """The pages of three seconds of Opus; like Android's recorder, the last one has no end-of-stream flag."""
    *pages, last = list_ogg_pages(encode_audio_file("opus", 3.0, 16_000))
    assert last[5] == 4
    assert len(pages) > 3
    return [*pages, set_ogg_flags(last, 0)]


def test_opus_without_the_end_of_stream_flag_is_whole_if_its_pages_are(
    decoder: AudioDecoder, opus_pages: list[bytes]
) -> None:
    expected = decoder.decode(encode_audio_file("opus", 3.0, 16_000), 30.0)
    decoded = decoder.decode(b"".join(opus_pages), 30.0)
    # 0.1 % of full scale: the last samples depend on what follows.
    assert decoded[: len(expected)] == pytest.approx(expected, abs=33)
    # The flag also marks the padding of the last packet of 20 ms, which is kept without it (RFC 7845, section 4.4).
    assert len(decoded) - len(expected) < 0.02 * SAMPLE_RATE


def test_two_recordings_in_one_ogg_file_are_both_decoded(decoder: AudioDecoder) -> None:
    one = encode_audio_file("opus", 1.0, 16_000)
    assert len(decoder.decode(one + one, 30.0)) == 2 * SAMPLE_RATE


def test_opus_without_the_end_of_stream_flag_is_refused_if_a_page_is_not_whole(
    decoder: AudioDecoder, opus_pages: list[bytes]
) -> None:
    whole = b"".join(opus_pages)
    for cut in (1, 20, len(opus_pages[-1]) - 27, len(opus_pages[-1]) - 20, len(opus_pages[-1]) - 3):
        with pytest.raises(InputError, match="cut off"):
            decoder.decode(whole[:-cut], 30.0)
    with pytest.raises(InputError, match=r"cut off: 100 bytes after .* are no Ogg page"):
        decoder.decode(whole + b"x" * 100, 30.0)
    with pytest.raises(InputError, match="Ogg page 3 is missing, 4 follows"):
        decoder.decode(b"".join(each for at, each in enumerate(opus_pages) if at != 3), 30.0)
    unfinished = bytearray(opus_pages[-1])
    unfinished[26:28] = b"\x01\xff"  # one packet segment of 255 bytes: the packet continues on the next page
    with pytest.raises(InputError, match="ends within a packet"):
        decoder.decode(b"".join((*opus_pages[:-1], bytes(unfinished[:28]), bytes(255))), 30.0)


@pytest.mark.parametrize("kind", ["flac", "m4a"])
@pytest.mark.parametrize("missing", [1, 100, 2000])
def test_a_file_that_lost_less_sound_than_an_encoder_pads_is_still_refused(
    decoder: AudioDecoder, kind: str, missing: int
) -> None:
    whole = encode_audio_file(kind, 2.0, 48_000, options={"moov_size": "4096"} if kind == "m4a" else {})
    assert kind == "flac" or whole.index(b"moov") < whole.index(b"mdat")
    assert len(decoder.decode(whole, 30.0)) / SAMPLE_RATE == pytest.approx(2.0, abs=0.13)
    with pytest.raises(InputError, match="cut off"):
        decoder.decode(whole[:-missing], 30.0)


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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
