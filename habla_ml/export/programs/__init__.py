"""A Whisper as three programs: audio to features, features to encoder states, a token and caches to logits.

`modules` contains the networks in torch, `interface` their inputs and outputs, and `parity` compares programs of any
runtime with Transformers. Core ML and ONNX store these programs.
"""
