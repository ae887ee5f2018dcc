"""Runs a Whisper that is stored as three programs: MelSpectrogram, AudioEncoder and TextDecoder.

`interface` has their inputs and outputs. Core ML programs run in an interpreter, ONNX programs in onnxruntime, and
`cached_decoder` calls the decoder token by token. Conversions belong to `export`, the choice of tokens to `transcription`.
"""
