"""Time until the error browser of a report can be used in Chromium.

A report of simulated utterances is written as the product writes it. Chromium opens the file; the time runs from the
start of the navigation until the first page of utterances is drawn and the main thread answers. The computing time of
the page's main thread up to that moment does not depend on other load of the machine. A search is timed in the page.

    python benchmarks/bench_error_browser.py --utterances 10000
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from habla_ml.evaluation.comparison.compare import compare_with_error_tables
from habla_ml.evaluation.metrics.inputs import DecodedModel, ModelRole
from habla_ml.evaluation.report import ReportContent, write_report
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.simulated_hypotheses import (
    TEST_PROVENANCE,
    TEST_SETTINGS,
    make_utterances,
    simulate_hypotheses,
)

_MODELS: tuple[tuple[str, ModelRole, float], ...] = (
    ("base", "base", 0.3),
    ("v1", "previous", 0.2),
    ("v2", "candidate", 0.15),
)
_ROUNDS = 5
_MEASURE_SEARCH = """() => {
  const box = document.getElementById("browser-search"), start = performance.now();
  box.value = "pizarra"; box.dispatchEvent(new Event("input"));
  return performance.now() - start;
}"""


def write_large_report(count: int, folder: Path) -> Path:
    """Write the report of `count` utterances and return the path of its page."""
    utterances = make_utterances(count // 25, 25)
    models = [
        DecodedModel(name, role, name, DecodingOptions(), simulate_hypotheses(utterances, rate, at))
        for at, (name, role, rate) in enumerate(_MODELS)
    ]
    comparison, tables = compare_with_error_tables(utterances, models, TEST_SETTINGS, TEST_PROVENANCE)
    start = time.process_time()
    files = write_report(ReportContent(comparison), utterances, folder, tables)
    print(f"written in {time.process_time() - start:.1f} s of computing time")
    return files.html


def measure_in_chromium(page_path: Path, rounds: int) -> None:
    """Print the times of every round."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(rounds):
            page = browser.new_page()
            metrics = page.context.new_cdp_session(page)
            metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
            start = time.perf_counter()
            page.goto(page_path.as_uri(), wait_until="commit")
            page.locator("#browser-list .example").first.wait_for()
            page.evaluate("() => new Promise(requestAnimationFrame)")
            opened = time.perf_counter() - start
            found = {each["name"]: each["value"] for each in metrics.send("Performance.getMetrics")["metrics"]}
            print(
                f"usable after {opened:.2f} s, {found['TaskDuration']:.2f} s of computing time in the main thread, "
                f"search {page.evaluate(_MEASURE_SEARCH):.0f} ms"
            )
            page.close()
        browser.close()


def main() -> None:
    """Write the report and print the times."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--utterances", type=int, default=10_000)
    count = options.parse_args().utterances
    with tempfile.TemporaryDirectory() as folder:
        page = write_large_report(count, Path(folder))
        print(f"{count} utterances, {page.stat().st_size / 2**20:.1f} MiB")
        measure_in_chromium(page, _ROUNDS)


if __name__ == "__main__":
    main()
