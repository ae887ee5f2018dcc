"""What the decoding process does: load one engine, then decode batches side by side until its input ends."""

from __future__ import annotations

import os
import resource
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from habla_ml.audio.foreign import read_frame, write_frame
from habla_ml.errors import EvaluationError
from habla_ml.process import die_with_parent
from habla_ml.transcription.engine import Engine
from habla_ml.transcription.messages import MOST_BYTES, START, Answer, Start, unpack_clips
from habla_ml.transcription.registry import engine_class


def serve(parent_pid: int) -> None:
    """Answer the requests of the process that started this one."""
    die_with_parent(parent_pid)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = _streams_of_our_own()
    first = read_frame(requests, MOST_BYTES)
    if first is None:
        return
    start = Start.model_validate_json(first[1])
    try:
        engine = engine_class(start.options.engine)(
            start.model_folder, start.options, start.device, start.cpu_threads
        )
    except EvaluationError as error:
        write_frame(answers, START, _body(Answer(kind="refused", reason=str(error))))
        return
    ready = Answer(kind="ready", clips_at_once=engine.clips_at_once, side_by_side=engine.side_by_side)
    write_frame(answers, START, _body(ready))
    one_at_a_time = threading.Lock()

    def answer(number: float, body: bytes) -> None:
        found = _decoded(engine, body)
        with one_at_a_time:
            write_frame(answers, number, _body(found))

    with ThreadPoolExecutor(engine.side_by_side) as pool:
        while (request := read_frame(requests, MOST_BYTES)) is not None:
            pool.submit(answer, *request)


def _decoded(engine: Engine, body: bytes) -> Answer:
    try:
        hypotheses = tuple(engine.transcribe(unpack_clips(body)))
    except EvaluationError as error:
        return Answer(kind="refused", reason=str(error))
    except Exception as error:  # noqa: BLE001 - whatever an engine raises on a clip is the clip's failure
        return Answer(kind="crashed", reason=f"{type(error).__name__}: {error}")
    return Answer(
        kind="heard",
        hypotheses=hypotheses,
        peak_memory_bytes=_peak_memory_bytes(),
        peak_gpu_memory_bytes=_peak_gpu_memory_bytes(),
    )


def _streams_of_our_own() -> tuple[IO[bytes], IO[bytes]]:
    """Standard input and output under other numbers, so that a library that prints cannot break a message."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return requests, answers


def _body(answer: Answer) -> bytes:
    return answer.model_dump_json().encode()


def _peak_memory_bytes() -> int:
    """Largest resident memory of this process."""
    if sys.platform == "linux":
        # getrusage would also count what the parent held when it started us.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _peak_gpu_memory_bytes() -> int | None:
    """What torch held at most, where the engine runs on torch and a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())
