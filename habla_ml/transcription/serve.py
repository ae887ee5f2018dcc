"""The decoding process: loads one engine, then decodes batches in parallel until its input ends."""

from __future__ import annotations

import os
import resource
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from habla_ml.audio.audio_decoder import read_message, write_message
from habla_ml.errors import EvaluationError
from habla_ml.process import die_with_parent, let_waiting_threads_sleep
from habla_ml.transcription.engine import Engine, load_engine_class
from habla_ml.transcription.messages import MAX_MESSAGE_BYTES, START_REQUEST, EngineAnswer, StartRequest, unpack_clips


def serve(parent_pid: int) -> None:
    """Answer the requests of the parent process."""
    die_with_parent(parent_pid)
    let_waiting_threads_sleep()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = _reserve_standard_streams()
    write_lock = threading.Lock()

    def send(number: float, answer: EngineAnswer) -> None:
        with write_lock:
            write_message(answers, number, answer.model_dump_json().encode())

    first = read_message(requests, MAX_MESSAGE_BYTES)
    if first is None:
        return
    start = StartRequest.model_validate_json(first[1])
    engine_class = load_engine_class(start.options.engine)
    try:
        engine = engine_class(start.model_folder, start.options, start.device, start.cpu_threads)
    except EvaluationError as error:
        send(START_REQUEST, EngineAnswer(kind="refused", reason=str(error)))
        return

    def answer(number: float, body: bytes) -> None:
        send(number, _decode_batch(engine, body))

    batches = engine.parallel_batches
    send(START_REQUEST, EngineAnswer(kind="ready", max_batch_clips=engine.max_batch_clips, parallel_batches=batches))
    with ThreadPoolExecutor(batches) as pool:
        while (request := read_message(requests, MAX_MESSAGE_BYTES)) is not None:
            pool.submit(answer, *request)


def _decode_batch(engine: Engine, body: bytes) -> EngineAnswer:
    try:
        hypotheses = tuple(engine.transcribe(unpack_clips(body)))
    except EvaluationError as error:
        return EngineAnswer(kind="refused", reason=str(error))
    except Exception as error:  # noqa: BLE001 - any exception of an engine is a failure of these clips
        return EngineAnswer(kind="crashed", reason=f"{type(error).__name__}: {error}")
    return EngineAnswer(
        kind="decoded",
        hypotheses=hypotheses,
        peak_memory_bytes=_read_peak_memory_bytes(),
        peak_gpu_memory_bytes=_read_peak_gpu_memory_bytes(),
    )


def _reserve_standard_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Return copies of standard input and output, and redirect both, so that printing libraries corrupt no message."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return requests, answers


def _read_peak_memory_bytes() -> int:
    """Return the peak resident memory of this process."""
    if sys.platform == "linux":
        # getrusage also counts memory of the parent at the time of the fork.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _read_peak_gpu_memory_bytes() -> int | None:
    """Return the peak GPU memory of torch, if the engine uses torch on a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())
