"""Decoding of WAV and other audio formats to 16 kHz mono, FLAC for the lake, and measurements of samples."""

from habla_ml.audio.audio_decoder import AudioDecoder, detect_container
from habla_ml.audio.decode import SAMPLE_RATE, decode_flac, dequantise, encode_flac, pcm_sha256, quantise
from habla_ml.audio.measure import SILENCE_DBFS, Measurements, measure
from habla_ml.audio.wav import decode_wav

__all__ = [
    "SAMPLE_RATE",
    "SILENCE_DBFS",
    "AudioDecoder",
    "Measurements",
    "decode_flac",
    "decode_wav",
    "dequantise",
    "detect_container",
    "encode_flac",
    "measure",
    "pcm_sha256",
    "quantise",
]
