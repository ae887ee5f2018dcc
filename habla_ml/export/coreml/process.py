"""Runs the conversion in a child process, so that its memory is freed and it ends with its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from habla_ml.errors import ExportError
from habla_ml.export.exporter import Progress
from habla_ml.export.programs.parity import ProgramParity

_RESULT_NAME = "conversion.json"
_ERROR_PREFIX = "error: "


@dataclass(frozen=True)
class ConversionResult:
    """Result of the child process."""

    quantisation: str
    target: str
    """A key of `COREML_TARGETS`."""
    parity: ProgramParity
    repairs: tuple[str, ...]
    kept_in_float16: tuple[str, ...] = ()
    """`program/weight` of the weights that were not compressed, so that the bounds hold."""


def run_conversion(
    checkpoint: Path,
    out: Path,
    timeout_s: float,
    progress: Progress,
    quantisation: str = "float16",
    target: str = "iOS16",
) -> ConversionResult:
    """Convert, check and verify in a child process, which is killed after `timeout_s`.

    `out` must not exist; the child writes the packages and the prepared checkpoint there.

    Raises:
        ExportError: The child refused the checkpoint, crashed, was killed or took too long.
    """
    command = [sys.executable, "-m", "habla_ml.export.coreml", str(checkpoint), str(out)]
    command += ["--quantisation", quantisation, "--target", target, "--parent-pid", str(os.getpid())]
    expired = threading.Event()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(timeout_s, expire)
        timer.start()
        try:
            for line in process.stdout or ():
                progress(line.rstrip("\n"))
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
        if expired.is_set():
            raise ExportError(
                f"Converting {checkpoint} to Core ML took longer than {timeout_s:g} s and was stopped; increase "
                "export.coreml_timeout_s, or use a machine with more free memory and cores."
            )
        if status != 0:
            raise ExportError(_explain_failure(checkpoint, status, errors))
    content = json.loads((out / _RESULT_NAME).read_text(encoding="utf-8"))
    parity, lists = ProgramParity(**content["parity"]), (content["repairs"], content["kept_in_float16"])
    return ConversionResult(quantisation, target, parity, *map(tuple, lists))


def _explain_failure(checkpoint: Path, status: int, errors: IO[str]) -> str:
    errors.seek(0)
    lines = [line for line in errors.read().splitlines() if line.strip()]
    explained = [line.removeprefix(_ERROR_PREFIX) for line in lines if line.startswith(_ERROR_PREFIX)]
    if explained:
        return explained[-1]
    if status < 0:
        return (
            f"The Core ML conversion of {checkpoint} was ended by {signal.Signals(-status).name}. SIGKILL usually "
            "means that memory ran out: whisper-small needs 4 GB."
        )
    return (
        f"The Core ML conversion of {checkpoint} crashed with status {status}: {' / '.join(lines[-3:])}. Run "
        "`python -m habla_ml.export.coreml` to see the complete error."
    )


def write_result(out: Path, conversion: ConversionResult) -> None:
    """Write the child's result for the parent."""
    content = {
        "parity": asdict(conversion.parity),
        "repairs": list(conversion.repairs),
        "kept_in_float16": list(conversion.kept_in_float16),
    }
    (out / _RESULT_NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def format_error(error: Exception) -> str:
    """Return the line by which the parent finds an error among the output of libraries."""
    return _ERROR_PREFIX + " ".join(str(error).split())
