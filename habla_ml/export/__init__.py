"""Converts a fine-tuned checkpoint to the formats that Habla, the phone and the engines load.

Each format is one `Exporter` of the registry; `publish` stores its result in the lake. Whether an export may be
released is decided in `habla_ml.release`.
"""
