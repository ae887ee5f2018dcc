"""The format of the phone app: three Core ML programs with WhisperKit's interface, verified against the checkpoint.

`modules` contains the three networks in torch, `convert` writes them as Core ML packages, `contract` checks their
interface, `interpreter` runs a saved program without a Mac, `verify` compares it with Transformers, and `archive`
makes the zip. Converting needs gigabytes, so it runs as `python -m habla_ml.export.coreml`.
"""
