"""Runs the conversion in a process of its own: its memory goes back, and it never outlives us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from habla_ml.errors import ExportError
from habla_ml.export.coreml.verify import CoreMLParity

_RESULT_NAME = "conversion.json"
_MESSAGE_PREFIX = "error: "


@dataclass(frozen=True)
class ConversionResult:
    """What the process found out.

    Attributes:
        parity: How near the saved programs are to the checkpoint.
        repairs: What was put right in the checkpoint before converting.
    """

    parity: CoreMLParity
    repairs: tuple[str, ...]


def run_conversion(
    checkpoint: Path, out: Path, timeout_s: float, progress: Callable[[str], None] | None = None
) -> ConversionResult:
    """Convert, check and verify in a child process.

    Args:
        checkpoint: A Transformers folder as the trainer left it.
        out: A folder that does not exist yet; gets the packages and the prepared checkpoint.
        timeout_s: The child is killed after that.
        progress: Told each line the child prints.

    Raises:
        ExportError: The child refused, crashed, was killed or took too long.
    """
    command = [sys.executable, "-m", "habla_ml.export.coreml", str(checkpoint), str(out)]
    command += ["--parent-pid", str(os.getpid())]
    expired = threading.Event()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        )

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(timeout_s, expire)
        timer.start()
        try:
            for line in process.stdout or ():
                if progress:
                    progress(line.rstrip("\n"))
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        if expired.is_set():
            raise ExportError(
                f"Converting {checkpoint} to Core ML took longer than {timeout_s:g} s and was stopped; give it "
                "more time, or a machine with more free memory and cores."
            )
        if status != 0:
            raise ExportError(_explain_failure(checkpoint, status, errors))
    return _read_result(out / _RESULT_NAME)


def _explain_failure(checkpoint: Path, status: int, errors: IO[str]) -> str:
    errors.seek(0)
    lines = [line for line in errors.read().splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith(_MESSAGE_PREFIX):
            return line.removeprefix(_MESSAGE_PREFIX)
    if status < 0:
        return (
            f"The Core ML conversion of {checkpoint} was ended by {signal.Signals(-status).name}; SIGKILL most "
            "often means that memory ran out: whisper-small needs 4 GB."
        )
    return (
        f"The Core ML conversion of {checkpoint} crashed with status {status}: {' / '.join(lines[-3:])}. Run "
        f"`python -m habla_ml.export.coreml` on it to see the whole error."
    )


def write_result(out: Path, conversion: ConversionResult) -> None:
    """Leave the child's findings in `out` for the parent."""
    content = {"parity": asdict(conversion.parity), "repairs": list(conversion.repairs)}
    (out / _RESULT_NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read_result(path: Path) -> ConversionResult:
    content = json.loads(path.read_text(encoding="utf-8"))
    return ConversionResult(CoreMLParity(**content["parity"]), tuple(content["repairs"]))


def format_refusal(problem: Exception) -> str:
    """How the child words a refusal on its standard error, so that the parent finds it among library noise."""
    return _MESSAGE_PREFIX + " ".join(str(problem).split())
