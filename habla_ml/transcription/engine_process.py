"""The parent's side of a decoding process."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from habla_ml.audio.audio_decoder import read_message, write_message
from habla_ml.errors import EvaluationError
from habla_ml.transcription.messages import MAX_MESSAGE_BYTES, START_REQUEST, EngineAnswer, StartRequest
from habla_ml.transcription.registry import ENGINES
from habla_ml.virtual_environments import is_installed, sibling_environment

_LOAD_TIMEOUT_S: Final = 600.0
_EXIT_WAIT_S: Final = 5.0
_Frame = tuple[float, bytes]
_BOOT_SCRIPT: Final = """
import sys
sys.path.append(sys.argv[1])
from habla_ml.transcription.serve import serve
serve(int(sys.argv[2]))
"""


class EngineProcess:
    """A process that has loaded an engine. Use it from the thread that started it.

    Two threads write and read the pipes, so that a child that hangs does not block the caller.
    """

    def __init__(self, start: StartRequest) -> None:
        """Start the process and wait until the model is loaded.

        Raises:
            EvaluationError: The engine cannot be used or is not installed, or its process ended or hung while loading.
        """
        command = _build_command(start.options.engine)
        self._stderr_file = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._child = subprocess.Popen(
            [*command, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr_file,
            # OpenBLAS threads busy-wait on the cores that decode.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        if self._child.stdin is None or self._child.stdout is None:
            raise EvaluationError("the decoding process has no pipes; run again")
        self._requests: queue.SimpleQueue[_Frame | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[_Frame | None] = queue.SimpleQueue()
        self._threads = (
            threading.Thread(target=_write_requests, args=(self._child.stdin, self._requests), daemon=True),
            threading.Thread(target=_read_answers, args=(self._child.stdout, self._answers), daemon=True),
        )
        for thread in self._threads:
            thread.start()
        ready = self._wait_until_loaded(start)
        self.max_batch_clips = ready.max_batch_clips
        self.parallel_batches = ready.parallel_batches

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; it ends with its parent."""
        return self._child.poll() is None

    def send(self, number: float, body: bytes) -> None:
        """Queue a request without waiting."""
        self._requests.put((number, body))

    def receive(self, within_s: float) -> tuple[float, EngineAnswer] | None:
        """Return the next answer and the number of its request, or None if the process ended.

        Raises:
            TimeoutError: There is no answer in time.
        """
        try:
            frame = self._answers.get(timeout=max(0.0, within_s))
        except queue.Empty:
            raise TimeoutError from None
        if frame is None:
            # The pipe closes before the process ends; wait for its exit status.
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(_EXIT_WAIT_S)
            return None
        return frame[0], EngineAnswer.model_validate_json(frame[1])

    def close(self) -> str:
        """End the process; return its exit status and the last line of its standard error as text."""
        was_alive = self.is_alive
        with (
            suppress(BrokenPipeError),
            self._child,
        ):  # closes the pipes; part of a request may still be in a buffer
            self._child.kill()
            self._child.wait()
            self._requests.put(None)
            for thread in self._threads:
                thread.join()
        self._stderr_file.seek(max(0, self._stderr_file.seek(0, os.SEEK_END) - 2000))
        lines = self._stderr_file.read().decode(errors="replace").strip().splitlines()
        self._stderr_file.close()
        last = f"; its last output: {lines[-1][:300]}" if lines else ""
        return "it was stopped" if was_alive else _describe_exit(self._child.returncode) + last

    def _wait_until_loaded(self, start: StartRequest) -> EngineAnswer:
        self.send(START_REQUEST, start.model_dump_json().encode())
        try:
            answer = self.receive(_LOAD_TIMEOUT_S)
        except TimeoutError:
            self.close()
            raise EvaluationError(
                f"{start.options.engine} did not load {start.model_folder} within {_LOAD_TIMEOUT_S:g} s; "
                "check the disk and the device, then run again"
            ) from None
        if answer is None:
            raise EvaluationError(
                f"the process of {start.options.engine} ended while loading {start.model_folder}: {self.close()}. If "
                "memory is short, choose a smaller model"
            )
        if answer[1].kind == "refused":
            self.close()
            raise EvaluationError(answer[1].reason)
        return answer[1]


def _build_command(engine: str) -> list[str]:
    """Return the command of the process, without the parent's id."""
    name = ENGINES[engine].environment
    if name is None:
        return [sys.executable, "-m", "habla_ml.transcription"]
    environment = sibling_environment(name)
    if not is_installed(environment):
        raise EvaluationError(
            f"the engine {engine} needs its own virtual environment, and {environment} does not exist; run "
            f"`habla-ml install-{name}` (see docs/engines.md)"
        )
    # The boot script appends our folder to the path, so that packages of the environment take precedence.
    return [str(environment / "bin" / "python"), "-I", "-c", _BOOT_SCRIPT, str(Path(__file__).parents[2])]


def _describe_exit(status: int) -> str:
    if status >= 0:
        return f"it exited with status {status}"
    name = signal.Signals(-status).name
    return f"it was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _write_requests(pipe: IO[bytes], requests: queue.SimpleQueue[_Frame | None]) -> None:
    while (request := requests.get()) is not None:
        try:
            write_message(pipe, *request)
        except BrokenPipeError:
            return


def _read_answers(pipe: IO[bytes], answers: queue.SimpleQueue[_Frame | None]) -> None:
    while (frame := read_message(pipe, MAX_MESSAGE_BYTES)) is not None:
        answers.put(frame)
    answers.put(None)
