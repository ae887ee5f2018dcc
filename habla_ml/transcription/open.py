"""Where a transcriber comes from."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from habla_ml.errors import EvaluationError
from habla_ml.transcription.engine import Transcriber
from habla_ml.transcription.hosted.open import HostedAccess, open_hosted_transcriber
from habla_ml.transcription.isolated import IsolatedTranscriber
from habla_ml.transcription.options import DecodingOptions, HostedOptions


def open_transcriber(
    options: DecodingOptions | HostedOptions,
    model_folder: Path | None,
    device: str = "auto",
    cpu_threads: int = 0,
    hosted: HostedAccess | None = None,
) -> Transcriber:
    """The engine that the options name; close it. A local one runs in a process that starts with the first clip.

    Args:
        options: Which engine, and how it decodes.
        model_folder: In the local engine's own format; for a service, the model that it may fall back to, or None.
        device: `cpu`, `cuda` or `auto`.
        cpu_threads: Cores to use; 0 is all of them.
        hosted: Without it, no service is asked.

    Raises:
        EvaluationError: The engine does not know an option that is set, or is a service that may not be asked.
    """
    if isinstance(options, HostedOptions):
        fallback = None
        if model_folder is not None and hosted is not None:
            fallback = partial(IsolatedTranscriber, model_folder, hosted.local, device, cpu_threads)
        return open_hosted_transcriber(options, hosted, fallback)
    if model_folder is None:
        raise EvaluationError(f"engine {options.engine} has no model; give the folder of one in its format")
    return IsolatedTranscriber(model_folder, options, device, cpu_threads)
