"""Fine-tuning of a Whisper checkpoint on a snapshot, in a separate process (`python -m habla_ml.training`).

This package has recipes, targets, windows, the trainer and the records of trained versions. Evaluation of a version
belongs to `evaluation`, conversion to `export`.
"""
