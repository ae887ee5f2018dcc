"""Opens a transcriber of any kind."""

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
    """Return the engine that the options name; the caller closes it. A local engine starts with its first clip.

    Args:
        options: Engine and decoding options.
        model_folder: A folder in the local engine's format; for a service, the model of its fallback, or None.
        device: `cpu`, `cuda` or `auto`.
        cpu_threads: Cores to use; 0 is all of them.
        hosted: None allows no service.

    Raises:
        EvaluationError: The engine does not support an option that is set, or is a service that is not allowed.
    """
    if isinstance(options, HostedOptions):
        fallback = None
        if model_folder is not None and hosted is not None:
            fallback = partial(IsolatedTranscriber, model_folder, hosted.local, device, cpu_threads)
        return open_hosted_transcriber(options, hosted, fallback)
    if model_folder is None:
        raise EvaluationError(f"engine {options.engine} has no model; name a model folder in its format")
    return IsolatedTranscriber(model_folder, options, device, cpu_threads)
