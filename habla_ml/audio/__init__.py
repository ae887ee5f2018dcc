"""Decoding of WAV and other audio formats to 16 kHz mono, FLAC for the lake, MP3 for browsers, and measurements of samples."""

from habla_ml.audio.audio_decoder import AudioDecoder, detect_container
from habla_ml.audio.decode import SAMPLE_RATE, decode_flac, dequantise, encode_flac, pcm_sha256, quantise
from habla_ml.audio.measure import SILENCE_DBFS, Measurements, measure
from habla_ml.audio.mp3 import encode_mp3
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
    "encode_mp3",
    "measure",
    "pcm_sha256",
    "quantise",
]
