"""The `habla-ml` command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_habla_ml(*arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with `typed` as its input and `environment` added to this process's."""
    return subprocess.run(
        [Path(sys.executable).with_name("habla-ml"), *arguments],
        env={**os.environ, "COLUMNS": "300", "OMP_NUM_THREADS": "1", **environment},
        input=typed,
        capture_output=True,
        text=True,
        check=False,
    )
