"""What looks at the whole corpus, with a million segments in the lake: the queue, the people, the checks, the report.

    bench_corpus_million.py [SEGMENTS] [--a-day N]

Writes facts without audio and events of two people (a third of the segments transcribed, a fifth of those by both),
builds the text under orthographic-v3 and splits it, then runs each step in a process of its own and prints its
seconds and the peak of its memory. A step's memory holds what it imports; the first line is a process that only does
that. The bound is a minute a step, for a million segments too.
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
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.lake import DirectoryStore
from habla_ml.recordings.days import load_day
from habla_ml.review.candidates import list_recorded_days
from habla_ml.review.queue import find_segments_to_send_back, make_queue

CONVENTIONS = CONVENTIONS_FOLDER / "orthographic-v3.yaml"
BOUND_S = 60.0


def import_only(root: Path) -> str:
    """A process that has its imports."""
    return f"lake {open_lake(root).url}"


def queue(root: Path) -> str:
    """Candidates, ranking, choice and publication; no model was released, so nothing is decoded."""
    lake, settings = open_lake(root), settings_of(root)
    back = find_segments_to_send_back(lake)
    made = make_queue(lake, DirectoryStore(root / "cdn"), settings, datetime.now(UTC), lambda _: None, back)
    return f"{made.candidates:,} candidates, {len(made.queue.items)} chosen"


def agreement(root: Path) -> str:
    """How far two people differ, over all days."""
    return measure_agreement(open_lake(root), load_conventions(CONVENTIONS), normalise_spanish).summary


def violations(root: Path) -> str:
    """Every segment whose text breaks a requirement."""
    return f"{sum(1 for _ in find_violating_segments(open_lake(root))):,} segments"


def quality(root: Path) -> str:
    """All checks of all days, of the snapshot, and of what was lost."""
    lake, settings = open_lake(root), settings_of(root).quality
    findings = []
    for day in list_recorded_days(lake):
        recordings, text = load_day(lake, day), load_corpus_day(lake, day)
        assert recordings is not None
        assert text is not None
        findings += [*check_recordings(lake, recordings.facts, settings), *check_text(lake, text, settings)]
    snapshot = load_latest_snapshot(lake)
    hours = hours_by_day(lake, snapshot)
    findings += [*check_snapshot(lake, snapshot, settings), *find_lost_hours(hours, hours, settings)]
    return f"{len(findings):,} findings, {sum(not each.passed for each in findings)} failed"


def report(root: Path) -> str:
    """The corpus report and its page."""
    described = describe_corpus(open_lake(root), settings_of(root).quality)
    return f"{described.recorded_h:,.0f} h, a page of {len(render_corpus_report(described)) / 1024:.0f} KiB"


def prepare(root: Path, shape: CorpusShape) -> None:
    """Facts, events, text and splits."""
    lake, settings, conventions = open_lake(root), settings_of(root), load_conventions(CONVENTIONS)
    for day in write_corpus(lake, shape):
        build_day(lake, day, conventions, settings)
    make_snapshot(lake, settings, conventions)


def measure_step(step: Callable[[Path], str], root: Path) -> tuple[float, float, str]:
    """Seconds of a step, peak memory of this process in MiB, and what the step says."""
    started = time.perf_counter()
    said = step(root)
    took = time.perf_counter() - started
    status = Path("/proc/self/status").read_text("ascii")
    # Not ru_maxrss: a child begins with its parent's.
    peak_kib = int(status.partition("VmHWM:")[2].split()[0])
    return took, peak_kib / 1024, said


def main() -> int:
    """Print seconds and memory of each step; non-zero where one takes longer than the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segments", type=int, nargs="?", default=50_000)
    parser.add_argument(
        "--a-day", type=int, default=1_500, help="segments of a day: a classroom's, or an app's million"
    )
    chosen = parser.parse_args()
    shape = CorpusShape(
        chosen.segments, chosen.segments_per_day, transcribed_share=1 / 3, twice_transcribed_share=0.2
    )
    slowest = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        # A process for each: the next one's peak must not be the last one's.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
            pool.submit(prepare, root, shape).result()
            print(f"{chosen.segments:,} segments, {chosen.segments_per_day:,} a day")
            for step in (import_only, queue, agreement, violations, quality, report):
                took, peak_mib, said = pool.submit(measure_step, step, root).result()
                slowest = max(slowest, took)
                print(f"{step.__name__:<11} {took:7.1f} s   {peak_mib:6.0f} MiB   {said}", flush=True)
    return int(slowest > BOUND_S)


if __name__ == "__main__":
    sys.exit(main())
