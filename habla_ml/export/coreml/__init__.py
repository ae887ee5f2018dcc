"""What the phone loads: three Core ML programs to WhisperKit's contract, and the proof that they compute the same.

`modules` are the three networks in torch, `convert` turns them into Core ML packages, `contract` reads the
saved specification back, `execute` runs a saved program without a Mac, `verify` compares it with Transformers, and
`archive` makes the zip. Converting takes gigabytes, so it runs as `python -m habla_ml.export.coreml`.
"""
