"""Access to the C functions that pywhispercpp does not bind: the quantiser and the logits."""

from __future__ import annotations

import ctypes
from typing import Final

from habla_ml.errors import ExportError

_DTW_BYTES: Final = 128 << 20
"""Default of the last member of `ContextParameters`, by which another layout is noticed."""


class ContextParameters(ctypes.Structure):
    """`struct whisper_context_params`."""

    _fields_ = (
        ("use_gpu", ctypes.c_bool),
        ("flash_attn", ctypes.c_bool),
        ("gpu_device", ctypes.c_int),
        ("dtw_token_timestamps", ctypes.c_bool),
        ("dtw_aheads_preset", ctypes.c_int),
        ("dtw_n_top", ctypes.c_int),
        ("n_heads", ctypes.c_size_t),
        ("heads", ctypes.c_void_p),
        ("dtw_mem_size", ctypes.c_size_t),
    )


_SIGNATURES: Final = {
    "ggml_quantize_chunk": (
        ctypes.c_size_t,
        ctypes.c_int,  # type
        ctypes.c_void_p,  # source, float32
        ctypes.c_void_p,  # destination
        ctypes.c_int64,  # first value
        ctypes.c_int64,  # rows
        ctypes.c_int64,  # values of a row
        ctypes.c_void_p,  # importance matrix
    ),
    "whisper_context_default_params": (ContextParameters,),
    "whisper_init_from_file_with_params": (ctypes.c_void_p, ctypes.c_char_p, ContextParameters),
    "whisper_free": (None, ctypes.c_void_p),
    "whisper_n_vocab": (ctypes.c_int, ctypes.c_void_p),
    "whisper_pcm_to_mel": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int),
    "whisper_encode": (ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int),
    "whisper_decode": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int),
    "whisper_get_logits": (ctypes.POINTER(ctypes.c_float), ctypes.c_void_p),
}
"""Result and arguments, from `ggml.h` and `whisper.h` of whisper.cpp 1.8.5."""


def load_whisper_cpp() -> ctypes.CDLL:
    """Return the functions of `_SIGNATURES`.

    The system's loader also finds the functions of the libraries on which the extension module depends.

    Raises:
        ExportError: pywhispercpp is not installed, or its build has not these functions.
    """
    try:
        import _pywhispercpp
    except ImportError as missing:
        raise ExportError(
            f"whisper.cpp is needed to write and check GGML ({missing}); run: pip install 'habla-ml[whisper-cpp]'"
        ) from missing
    library = ctypes.CDLL(_pywhispercpp.__file__)
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(library, name, None)
        if function is None:
            raise _build_version_error(_pywhispercpp.__file__, f"has no {name}")
        function.restype, function.argtypes = result, arguments
    if library.whisper_context_default_params().dtw_mem_size != _DTW_BYTES:
        raise _build_version_error(_pywhispercpp.__file__, "has other parameters than whisper.cpp 1.8.5")
    return library


def _build_version_error(path: str, fault: str) -> ExportError:
    return ExportError(
        f"{path} {fault}; install pywhispercpp from its wheel for Linux or macOS, in the version of constraints.txt"
    )
