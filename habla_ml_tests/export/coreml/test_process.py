"""The child process of the conversion reports progress and errors, and ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from habla_ml.errors import ExportError
from habla_ml.export.coreml.process import run_conversion
from habla_ml_tests.export.coreml.conftest import ConvertedCheckpoint
from habla_ml_tests.testing.export_checkpoint import ignore_progress

pytestmark = pytest.mark.slow

PARENT = """
import sys
from pathlib import Path
from habla_ml.export.coreml.process import run_conversion

run_conversion(Path(sys.argv[1]), Path(sys.argv[2]), 300.0, lambda line: print(line, flush=True))
"""


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_progress_is_reported_line_by_line_from_all_stages(converted_model: ConvertedCheckpoint) -> None:
    stages = [line.split(":")[0] for line in converted_model.lines]
    assert stages == ["prepare"] * 2 + ["coreml"] * 3 + ["contract"] + ["verify"] * 3


def test_repairs_are_returned(converted_model: ConvertedCheckpoint) -> None:
    assert converted_model.conversion.repairs == (
        "preprocessor_config.json was missing: written from processor_config.json",
    )


def test_the_parent_does_not_import_torch() -> None:
    program = "import sys, habla_ml.export.registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_error_of_the_child_reaches_the_caller_unchanged(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(ExportError, match=r"^\S+ contains adapter_config\.json.*Merge the adapter"):
        run_conversion(tmp_path / "adapter", tmp_path / "out", 60.0, ignore_progress)


def test_on_the_command_line_an_error_is_one_line_and_status_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "habla_ml.export.coreml", str(tmp_path / "nowhere"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: The checkpoint ")
    assert "Traceback" not in done.stderr


def test_a_conversion_that_takes_too_long_is_killed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    started_s = time.monotonic()
    with pytest.raises(ExportError, match=r"took longer than 0\.2 s"):
        run_conversion(tiny_checkpoint, tmp_path / "out", 0.2, ignore_progress)
    assert time.monotonic() - started_s < 30


def test_a_crash_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "odd" / "config.json").mkdir(parents=True)
    with pytest.raises(ExportError, match=r"crashed with status 1: .*IsADirectoryError"):
        run_conversion(tmp_path / "odd", tmp_path / "out", 60.0, ignore_progress)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_conversion_dies_with_its_parent(tiny_checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tiny_checkpoint), str(tmp_path / "out")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    parent.stdout.readline()  # the child is running
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    (conversion,) = [int(pid) for pid in children]
    assert is_running(conversion)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline_s = time.monotonic() + 10
    while is_running(conversion) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not is_running(conversion)
    assert not (tmp_path / "out" / "conversion.json").exists()
