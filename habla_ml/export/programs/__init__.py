"""Whisper as the three programs of `habla_ml.runtimes`, which Core ML and ONNX store.

`modules` contains the networks in torch, and `parity` compares programs of any runtime with Transformers.
"""
