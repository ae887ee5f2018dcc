"""Turns a fine-tuned checkpoint into what Habla and the phone load.

`prepare` makes a clean folder of a trained one, `ct2` converts it for Habla, `coreml` for the phone. What is
published where, and whether it may be, is decided elsewhere (`habla_ml.release`).
"""
