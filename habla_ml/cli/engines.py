"""`habla-ml install-whisperx`: the engine that needs an environment of its own."""

from __future__ import annotations

from rich.console import Console


def install_whisperx_command() -> None:
    """Install WhisperX beside our own environment, so that it can be compared; some 8 GB, several minutes."""
    from habla_ml.transcription.whisperx import get_whisperx_environment, install_whisperx

    console = Console(highlight=False)
    install_whisperx(console.print)
    console.print(f"the engine whisperx runs in {get_whisperx_environment()}", soft_wrap=True)
