"""Audio files of other formats than WAV, from the encoders of PyAV."""

from __future__ import annotations

import io

import av
import numpy as np

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
    kind: str, seconds: float, rate: int = 48_000, channels: int = 1, hertz: float = 440.0, level: float = 0.3
) -> bytes:
    """Return a file with a tone, or with silence at level 0."""
    muxer, codec = ENCODERS[kind]
    layout = "stereo" if channels == 2 else "mono"
    out = io.BytesIO()
    with av.open(out, "w", format=muxer) as container:
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
