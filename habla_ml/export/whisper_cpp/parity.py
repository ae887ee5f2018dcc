"""Runs a GGML file in whisper.cpp, in its own process, and compares its logits with those of Transformers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from habla_ml.errors import ExportError
from habla_ml.export.exporter import Progress
from habla_ml.export.programs.parity import ReferenceModel, compute_psnr_db, make_test_audio

if TYPE_CHECKING:
    from torch import Tensor

_MAX_PADDING_PROBABILITY: Final = 0.001


@dataclass(frozen=True)
class LogitBounds:
    """The largest differences with which a file may be released."""

    min_logit_psnr_db: float
    max_relative_logit_difference: float
    """Share of the largest reference logit."""


@dataclass(frozen=True)
class LogitParity:
    """Differences between whisper.cpp and the checkpoint, from the audio to the logits."""

    logit_psnr_db: float
    """20 log10(largest reference logit / root mean square difference) over all tokens."""
    largest_logit_difference: float
    """Over all compared tokens."""
    logit_scale: float
    """Largest absolute reference logit."""
    same_argmax: int
    """Tokens after which both predict the same next token."""
    compared_tokens: int
    padding_probability: float
    """Of all padding tokens together, the largest after any token; 0 where nothing is padded."""


def measure_logit_parity(
    model: Path, checkpoint: Path, padding: slice, timeout_s: float, progress: Progress
) -> LogitParity:
    """Decode test audio token by token in whisper.cpp, and compare all logits with Transformers in float32.

    whisper.cpp has no function that returns the spectrogram or the encoder states, so the logits stand for all three.

    Args:
        model: The GGML file.
        checkpoint: The prepared folder from which it was converted.
        padding: The ids of the file that the checkpoint does not have.
        timeout_s: After so many seconds the process is killed.
        progress: Receives one line.

    Raises:
        ExportError: whisper.cpp refused the file, crashed, or took too long.
    """
    import torch

    audio = make_test_audio()
    reference = ReferenceModel.load(checkpoint)
    with torch.inference_mode():
        tokens, expected, _ = reference.decode(reference.encode(reference.features(audio)))
    del reference
    n_padding = padding.stop - padding.start
    shifted = [each + n_padding * (each >= padding.start) for each in tokens]
    found = _run_whisper_cpp(model, audio, shifted, timeout_s)
    kept = torch.cat([found[:, : padding.start], found[:, padding.stop :]], dim=1)
    difference = float((kept - expected).abs().max())
    same = int((kept.argmax(-1) == expected.argmax(-1)).sum())
    progress(f"verify: whisper.cpp within {difference:.4f}, same prediction at {same} of {len(tokens)} tokens")
    return LogitParity(
        logit_psnr_db=compute_psnr_db(kept, expected),
        largest_logit_difference=difference,
        logit_scale=float(expected.abs().max()),
        same_argmax=same,
        compared_tokens=len(tokens),
        padding_probability=float(found.softmax(-1)[:, padding].sum(-1).max()),
    )


def find_logit_problems(parity: LogitParity, bounds: LogitBounds) -> list[str]:
    """Return one sentence per difference that is too large for a release."""
    psnr_db, logit, padded = parity.logit_psnr_db, parity.largest_logit_difference, parity.padding_probability
    max_logit = bounds.max_relative_logit_difference * parity.logit_scale
    checks = [
        (
            psnr_db >= bounds.min_logit_psnr_db,
            f"The logits are at {psnr_db:.1f} dB; at least {bounds.min_logit_psnr_db:.0f} dB is required.",
        ),
        (logit <= max_logit, f"A logit differs by {logit:.4f}; at most {max_logit:.4f} is allowed."),
        (
            padded <= _MAX_PADDING_PROBABILITY,
            f"The padding tokens have a probability of {padded:.4f}; at most {_MAX_PADDING_PROBABILITY} is allowed.",
        ),
    ]
    return [problem for is_within_bounds, problem in checks if not is_within_bounds]


def _run_whisper_cpp(model: Path, audio: Tensor, tokens: list[int], timeout_s: float) -> Tensor:
    """Return the logits [tokens, vocabulary]."""
    import numpy as np
    import torch

    with tempfile.TemporaryDirectory(prefix=".verify-", dir=model.parent.parent) as folder:
        inputs, out = Path(folder, "inputs.npz"), Path(folder, "logits.npy")
        np.savez(inputs, audio=audio.numpy(), tokens=np.array(tokens, np.int32))
        command = [sys.executable, "-m", "habla_ml.export.whisper_cpp", str(model), str(inputs), str(out)]
        try:
            done = subprocess.run(
                [*command, "--parent-pid", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            raise ExportError(
                f"whisper.cpp took longer than {timeout_s:g} s to check {model.name} and was stopped; increase "
                "export.coreml_timeout_s, or use a faster machine."
            ) from expired
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").split("\n")
            reason = " / ".join(line for line in lines[-4:] if line.strip())
            raise ExportError(
                f"whisper.cpp ended with status {done.returncode} on {model.name}: {reason}. Check the installed version "
                "of pywhispercpp against constraints.txt."
            )
        return torch.from_numpy(np.load(out))
