"""Steps over the whole corpus with a million segments: review queue, agreement, checks, report.

    bench_corpus_million.py [SEGMENTS] [--segments-per-day N]

Writes segment metadata without audio and events of two people: a third of the segments are transcribed, a fifth of
those by both. Builds the text under orthographic-v4 and splits it. Then each step runs in its own process, which
prints its seconds and its peak memory. The memory includes imports; the first line shows the imports alone. The bound
is a minute per step, for a million segments too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from synthetic_corpus import CONVENTIONS_FOLDER, CorpusShape, open_lake, settings_of, write_corpus

from habla_ml.corpus.agreement import measure_agreement
from habla_ml.corpus.build import build_day, load_corpus_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.quality import check_recordings, check_snapshot, check_text, find_lost_hours, hours_by_day
from habla_ml.corpus.report import describe_corpus
from habla_ml.corpus.report_page import render_corpus_report
from habla_ml.corpus.snapshot import load_latest_snapshot
from habla_ml.corpus.splits import make_snapshot
from habla_ml.corpus.violations import find_violating_segments
from habla_ml.evaluation.scoring.normalisation import normalise_spanish_pair
from habla_ml.lake import DirectoryStore
from habla_ml.recordings.days import load_day
from habla_ml.review.candidates import list_recorded_days
from habla_ml.review.queue import find_segments_to_send_back, make_queue

CONVENTIONS = CONVENTIONS_FOLDER / "orthographic-v4.yaml"
BOUND_S = 60.0


def import_only(root: Path) -> str:
    """Import only."""
    return f"lake {open_lake(root).url}"


def queue(root: Path) -> str:
    """Build the review queue without a released model, so that nothing is decoded."""
    lake, settings = open_lake(root), settings_of(root)
    back = find_segments_to_send_back(lake)
    made = make_queue(lake, DirectoryStore(root / "cdn"), settings, datetime.now(UTC), lambda _: None, back)
    return f"{made.candidates:,} candidates, {len(made.queue.items)} chosen"


def agreement(root: Path) -> str:
    """Measure the agreement of two people over all days."""
    return measure_agreement(open_lake(root), load_conventions(CONVENTIONS), normalise_spanish_pair).summary


def violations(root: Path) -> str:
    """List every segment with a violation of the conventions."""
    return f"{sum(1 for _ in find_violating_segments(open_lake(root))):,} segments"


def quality(root: Path) -> str:
    """Run all checks of days, snapshot and lost hours."""
    lake, settings = open_lake(root), settings_of(root).quality
    findings = []
    for day in list_recorded_days(lake):
        recordings, text = load_day(lake, day), load_corpus_day(lake, day)
        assert recordings is not None
        assert text is not None
        findings += [*check_recordings(lake, recordings.metadata, settings), *check_text(lake, text, settings)]
    snapshot = load_latest_snapshot(lake)
    hours = hours_by_day(lake, snapshot)
    findings += [*check_snapshot(lake, snapshot, settings), *find_lost_hours(hours, hours, settings)]
    return f"{len(findings):,} findings, {sum(not each.passed for each in findings)} failed"


def report(root: Path) -> str:
    """Build the corpus report and its page."""
    described = describe_corpus(open_lake(root), settings_of(root).quality)
    return f"{described.recorded_h:,.0f} h, a page of {len(render_corpus_report(described)) / 1024:.0f} KiB"


def prepare(root: Path, shape: CorpusShape) -> None:
    """Write metadata and events; build text and splits."""
    lake, settings, conventions = open_lake(root), settings_of(root), load_conventions(CONVENTIONS)
    for day in write_corpus(lake, shape):
        build_day(lake, day, conventions, settings)
    make_snapshot(lake, settings, conventions)


def measure_step(step: Callable[[Path], str], root: Path) -> tuple[float, float, str]:
    """Return seconds, peak memory of this process in MiB, and the summary of a step."""
    started = time.perf_counter()
    summary = step(root)
    took = time.perf_counter() - started
    status = Path("/proc/self/status").read_text("ascii")
    # Not ru_maxrss: a child starts with the value of its parent.
    peak_kib = int(status.partition("VmHWM:")[2].split()[0])
    return took, peak_kib / 1024, summary


def main() -> int:
    """Print seconds and memory of each step; return non-zero where one exceeds the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segments", type=int, nargs="?", default=50_000)
    parser.add_argument(
        "--segments-per-day", type=int, default=1_500, help="1,500 for a classroom, a million for an app"
    )
    chosen = parser.parse_args()
    shape = CorpusShape(chosen.segments, chosen.segments_per_day, transcribed_share=1 / 3, twice_transcribed_share=0.2)
    slowest = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        # One process per step, so that a peak belongs to its step.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
            pool.submit(prepare, root, shape).result()
            print(f"{chosen.segments:,} segments, {chosen.segments_per_day:,} per day")
            for step in (import_only, queue, agreement, violations, quality, report):
                took, peak_mib, summary = pool.submit(measure_step, step, root).result()
                slowest = max(slowest, took)
                print(f"{step.__name__:<11} {took:7.1f} s   {peak_mib:6.0f} MiB   {summary}", flush=True)
    return int(slowest > BOUND_S)


if __name__ == "__main__":
    sys.exit(main())
