"""Samples in and out: WAV and other common audio in, 16 kHz mono FLAC in the lake, and what can be measured."""

from habla_ml.audio.decode import (
    SAMPLE_RATE,
    decode_flac,
    decode_wav,
    dequantised,
    encode_flac,
    pcm_sha256,
    quantised,
)
from habla_ml.audio.foreign import AudioDecoder, container_of
from habla_ml.audio.measure import SILENCE_DBFS, Measurements, measure

__all__ = [
    "SAMPLE_RATE",
    "SILENCE_DBFS",
    "AudioDecoder",
    "Measurements",
    "container_of",
    "decode_flac",
    "decode_wav",
    "dequantised",
    "encode_flac",
    "measure",
    "pcm_sha256",
    "quantised",
]
