"""`python -m habla_ml.export.whisper_cpp MODEL INPUTS OUT`: write the logits of a GGML file for audio and tokens."""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from habla_ml.errors import ExportError, HablaError
from habla_ml.export.whisper_cpp.library import load_whisper_cpp
from habla_ml.process import die_with_parent

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _compute_logits(model: Path, audio: NDArray[np.float32], tokens: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return the logits [tokens, vocabulary] after each token, decoded one by one on the CPU.

    Flash attention is off, because it changes the logits more than the weight types do and would hide their difference.
    One thread computes, so that the sums do not depend on the number of cores.
    """
    library = load_whisper_cpp()
    parameters = library.whisper_context_default_params()
    parameters.use_gpu = parameters.flash_attn = False
    context = library.whisper_init_from_file_with_params(os.fsencode(model), parameters)
    if not context:
        raise ExportError(f"whisper.cpp cannot load {model}")
    n_threads, n_vocab = 1, library.whisper_n_vocab(context)
    if library.whisper_pcm_to_mel(context, audio.ctypes.data, len(audio), n_threads):
        raise ExportError(f"whisper.cpp cannot compute the spectrogram for {model}")
    if library.whisper_encode(context, 0, n_threads):
        raise ExportError(f"whisper.cpp cannot run the encoder of {model}")
    logits = np.empty((len(tokens), n_vocab), np.float32)
    for position, token in enumerate(tokens):
        if library.whisper_decode(context, ctypes.byref(ctypes.c_int32(token)), 1, position, n_threads):
            raise ExportError(f"whisper.cpp cannot run the decoder of {model} at position {position}")
        logits[position] = np.ctypeslib.as_array(library.whisper_get_logits(context), (n_vocab,))
    library.whisper_free(context)
    return logits


def main() -> int:
    """Run the model. After an error the status is 1 and standard error ends with one line that explains it."""
    parser = argparse.ArgumentParser(prog="python -m habla_ml.export.whisper_cpp", description=__doc__)
    parser.add_argument("model", type=Path, help="a GGML file")
    parser.add_argument("inputs", type=Path, help="an npz file with audio [samples] and tokens [n]")
    parser.add_argument("out", type=Path, help="the npy file to write")
    parser.add_argument("--parent-pid", type=int, help="process to end with")
    arguments = parser.parse_args()
    try:
        if arguments.parent_pid is not None:
            die_with_parent(arguments.parent_pid)
        with np.load(arguments.inputs) as inputs:
            audio, tokens = inputs["audio"].astype(np.float32), inputs["tokens"].astype(np.int32)
        np.save(arguments.out, _compute_logits(arguments.model, audio, tokens))
    except HablaError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
