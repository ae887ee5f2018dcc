"""Fine-tunes a Whisper checkpoint on a snapshot, in a process of its own (`python -m habla_ml.training`).

What belongs here: recipes, targets, windows, the trainer, and what is known of a trained version. Judging a
version belongs to `evaluation`, converting it to `export`.
"""
