"""Load our code location and an empty Dagster project: whole processes, in turn, medians.

The bound is 1.5 times the empty project. Heavy packages such as torch must not be imported.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 9
HEAVY = ("torch", "transformers", "datasets", "coremltools", "ctranslate2", "pandas", "matplotlib")

EMPTY = "import dagster as dg; dg.Definitions().get_repository_def()"
OURS = """
import sys
from habla_ml.definitions import build_definitions
from habla_ml.settings import load_settings
build_definitions(load_settings(sys.argv[1], {})).get_repository_def()
print(*[name for name in sys.argv[2:] if name in sys.modules])
"""


def write_profile(folder: Path) -> Path:
    """Write a profile for a temporary folder; return its path."""
    root = Path(__file__).resolve().parent.parent
    (folder / "recordings").mkdir()
    path = folder / "configs" / "bench.yaml"
    path.parent.mkdir()
    path.write_text(
        f"work_folder: work\nlake: {{url: lake}}\nrecordings: {{folder: recordings}}\n"
        f"corpus: {{conventions: {root}/configs/conventions/orthographic-v1.yaml}}\n"
        f"training: {{recipe: {root}/configs/recipes/demo-full.yaml}}\nrelease: {{store: {{url: cdn}}}}\n"
    )
    return path


def time_interpreter(code: str, *arguments: str) -> tuple[float, str]:
    """Return wall seconds and output of a new interpreter that runs `code`."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    return time.perf_counter() - started, done.stdout.strip()


def main() -> int:
    """Print both medians and their ratio; return non-zero above the bound or for a heavy import."""
    with tempfile.TemporaryDirectory() as scratch:
        profile = str(write_profile(Path(scratch)))
        time_interpreter(EMPTY), time_interpreter(OURS, profile, *HEAVY)
        empty, ours = [], []
        for _ in range(ROUNDS):
            empty.append(time_interpreter(EMPTY)[0])
            took, heavy = time_interpreter(OURS, profile, *HEAVY)
            ours.append(took)
    ratio = statistics.median(ours) / statistics.median(empty)
    print(f"empty project  {statistics.median(empty):.2f} s   (min {min(empty):.2f}, max {max(empty):.2f})")
    print(f"habla_ml       {statistics.median(ours):.2f} s   (min {min(ours):.2f}, max {max(ours):.2f})")
    print(f"ratio          {ratio:.2f}   (bound 1.5); heavy modules imported: {heavy or 'none'}")
    return int(ratio > 1.5 or bool(heavy))


if __name__ == "__main__":
    sys.exit(main())
