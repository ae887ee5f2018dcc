"""The format of the phone app: three Core ML programs with WhisperKit's interface, verified against the checkpoint.

`convert` writes the programs as Core ML packages, `quantisation` stores their weights in fewer bits, `contract` checks
their interface, `interpreter` runs a saved program without a Mac, `verify` compares it with Transformers, and `archive`
makes the zip. Converting needs gigabytes, so it runs as `python -m habla_ml.export.coreml`.
"""
