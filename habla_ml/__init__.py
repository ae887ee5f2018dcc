"""habla_ml: keeps improving a Whisper recogniser for Andalusian Spanish in the classroom."""

__version__ = "1.0.0"
