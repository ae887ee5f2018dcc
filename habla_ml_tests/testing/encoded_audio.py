"""Audio files: WAV and others from libsndfile, lossy formats from the encoders of PyAV, WAV of any chunks by hand."""

from __future__ import annotations

import io
import random
import struct
import wave
from collections.abc import Mapping

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from habla_ml.audio import SAMPLE_RATE

ENCODERS = {
    "m4a": ("ipod", "aac"),
    "mp4": ("mp4", "aac"),
    "opus": ("ogg", "libopus"),
    "mp3": ("mp3", "libmp3lame"),
    "flac": ("flac", "flac"),
    "webm": ("webm", "libopus"),
    "aac": ("adts", "aac"),
}
"""File suffix → muxer and codec."""


def encode_audio_file(
    kind: str,
    seconds: float,
    rate: int = 48_000,
    channels: int = 1,
    hertz: float = 440.0,
    level: float = 0.3,
    options: Mapping[str, str] | None = None,
) -> bytes:
    """Return a file with a tone, or with silence at level 0; `options` are those of the muxer."""
    muxer, codec = ENCODERS[kind]
    layout = "stereo" if channels == 2 else "mono"
    out = io.BytesIO()
    with av.open(out, "w", format=muxer, options=dict(options or {})) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        at = np.arange(round(seconds * rate)) / rate
        tone = np.rint(level * 32_767 * np.sin(2 * np.pi * hertz * at)).astype(np.int16)
        for start in range(0, len(tone), rate):
            frame = av.AudioFrame.from_ndarray(
                np.repeat(tone[start : start + rate], channels)[None, :], format="s16", layout=layout
            )
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


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


class _Pipe:
    """A file that cannot seek."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


def pipe_wav_from_ffmpeg(pcm: NDArray[np.int16]) -> bytes:
    """Return a 16 kHz mono WAV as `ffmpeg … -f wav -` writes it to a pipe."""
    pipe = _Pipe()
    with av.open(pipe, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return bytes(pipe.data)


def make_wav_chunks(
    samples: bytes,
    data_size: int | None = None,
    riff_size: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
    magic: bytes = b"RIFF",
    bits: int = 16,
) -> bytes:
    """Return a 16 kHz mono WAV with any declared sizes and other chunks or bytes around the samples."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, bits)
    data = struct.pack("<4sI", b"data", len(samples) if data_size is None else data_size) + samples
    body = b"WAVE" + before + fmt + data + after
    return magic + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


def mutate_file(data: bytes, rng: random.Random) -> bytes:
    """Change, remove or insert a few bytes, half of the times near the start."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 20))):
        at = rng.randrange(len(changed) if rng.random() < 0.5 else 200)
        kept = rng.randrange(2)
        changed[at : at + rng.randrange(1, 20) * (1 - kept)] = rng.randbytes(rng.randrange(1, 20) * kept + 1)
    return bytes(changed)
