"""The trainer and the measurements of the demo's base model."""
