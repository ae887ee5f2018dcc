"""No channel and no second part of a file disappears unnoticed."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from habla_ml.audio import SAMPLE_RATE, AudioDecoder, decode_wav, dequantise
from habla_ml.errors import InputError
from habla_ml_tests.testing.encoded_audio import encode_audio_file, make_pcm16_wav, make_sine, make_wav, make_wav_chunks

TONE = make_sine()
SAMPLES = np.rint(TONE * 32_767).astype("<i2").tobytes()


@pytest.fixture(scope="module")
def decoder() -> Iterator[AudioDecoder]:
    with AudioDecoder() as decoder:
        yield decoder


def make_m4a(channels: NDArray[np.float32]) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def make_flac(channels: NDArray[np.float32]) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, channels.T, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return out.getvalue()


@pytest.mark.parametrize("kind", ["wav", "flac", "m4a"])
def test_channels_of_opposite_sign_do_not_become_silence(decoder: AudioDecoder, kind: str) -> None:
    stereo = np.stack([TONE, -TONE])
    data = {"wav": lambda: make_wav(stereo.T), "flac": lambda: make_flac(stereo), "m4a": lambda: make_m4a(stereo)}
    level = float(np.sqrt(np.mean(dequantise(decoder.decode(data[kind](), 30.0)) ** 2)))
    assert level == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize(("channels", "level"), [(np.stack([TONE, 0 * TONE]), 0.25), (np.stack([TONE] * 8), 0.5)])
def test_other_channels_are_averaged(channels: NDArray[np.float32], level: float) -> None:
    assert np.abs(decode_wav(make_wav(channels.T), 30)).max() / 32_768 == pytest.approx(level, rel=0.01)


def test_one_voice_in_eight_channels_is_averaged() -> None:
    channels = np.zeros((8, len(TONE)), np.float32)
    channels[0] = TONE
    assert np.abs(decode_wav(make_wav(channels.T), 30)).max() / 32_768 == pytest.approx(0.5 / 8, rel=0.01)


@pytest.mark.parametrize(
    "data",
    [
        make_wav_chunks(SAMPLES) * 2,
        make_wav_chunks(SAMPLES, after=b"data" + len(SAMPLES).to_bytes(4, "little") + SAMPLES),
        make_wav_chunks(SAMPLES[:-1]) + b"\0" + make_pcm16_wav(np.zeros(9, np.int16)),
    ],
    ids=["two files", "two data chunks", "two files, padded"],
)
def test_a_wav_with_a_second_recording_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"second recording after byte \d+; split it into two files"):
        decode_wav(data, 30)


def test_an_empty_data_chunk_or_a_word_after_the_samples_is_no_recording() -> None:
    for tail in (b"data\0\0\0\0", b"data", b"RIFF", b"RIFF\0\0\0\0AVI "):
        assert len(decode_wav(make_wav_chunks(SAMPLES, after=tail), 30)) == len(TONE)


def test_an_m4a_with_a_second_recording_is_refused_and_a_fragmented_one_is_read(decoder: AudioDecoder) -> None:
    with pytest.raises(InputError, match="second recording, with its index at byte"):
        decoder.decode(encode_audio_file("m4a", 1.0) * 2, 30.0)
    live = encode_audio_file("mp4", 1.0, options={"movflags": "frag_keyframe+empty_moov", "frag_duration": "200000"})
    assert len(decoder.decode(live, 30.0)) / SAMPLE_RATE == pytest.approx(1.0, abs=0.1)
