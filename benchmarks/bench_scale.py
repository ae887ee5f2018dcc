"""Every step over a whole corpus at several sizes: CPU time, peak memory, and how both grow.

    bench_scale.py 100000 1000000 [--segments-per-day N] [--only STEP]

Writes segment metadata without audio and events of two people: a third of the segments are transcribed, a fifth of
those by both. Each step runs in its own process, which prints its CPU time and its peak memory. The memory includes
imports; the first line shows the imports alone. The slope of a step is the exponent of its growth from the smallest size
to the largest: 1 is in proportion to the segments, 0 does not grow. The bounds are a minute of each step but `text` and
`backfill` for each million segments, 2 GiB, and a slope of 1.1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from growth import compute_slope, read_peak_mib
from synthetic_corpus import CONVENTIONS_FOLDER, CorpusShape, open_lake, settings_of, write_corpus

from habla_ml.corpus.agreement import measure_agreement
from habla_ml.corpus.build import build_day, load_corpus_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.hours import corpus_hours
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

CONVENTIONS = "orthographic-v4.yaml"
BOUND_S = 60.0
BOUND_MIB = 2048.0
MAX_SLOPE = 1.1
FLOOR_S = 0.05


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
    return measure_agreement(
        open_lake(root), load_conventions(CONVENTIONS_FOLDER / CONVENTIONS), normalise_spanish_pair
    ).summary


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


def text(root: Path) -> str:
    """Build the text of every day for the first time, under orthographic-v1."""
    return _build_days(root, "orthographic-v1.yaml")


def backfill(root: Path) -> str:
    """Build the text of every day again, under other conventions."""
    return _build_days(root, CONVENTIONS)


def tick(root: Path) -> str:
    """Sum the hours of the corpus as a tick of the growth sensor does."""
    return f"{corpus_hours(open_lake(root)):,.0f} h"


def splits(root: Path) -> str:
    """Publish the first snapshot."""
    made = make_snapshot(open_lake(root), settings_of(root), load_conventions(CONVENTIONS_FOLDER / CONVENTIONS))
    return f"{sum(made.counts.values()):,} segments"


def splits_again(root: Path) -> str:
    """Publish the snapshot of an unchanged corpus, with all decisions in the ledger."""
    return splits(root)


def _build_days(root: Path, name: str) -> str:
    lake, settings, conventions = open_lake(root), settings_of(root), load_conventions(CONVENTIONS_FOLDER / name)
    days = list(list_recorded_days(lake))
    for day in days:
        build_day(lake, day, conventions, settings)
    return f"{len(days)} days"


def measure_step(step: Callable[[Path], str], root: Path) -> tuple[float, float, str]:
    """Return CPU seconds, peak memory of this process in MiB, and the summary of a step."""
    started = time.process_time()
    summary = step(root)
    took = time.process_time() - started
    return took, read_peak_mib(), summary


def measure_size(shape: CorpusShape, only: list[str]) -> dict[str, tuple[float, float]]:
    """Print and return step → CPU seconds and MiB for a corpus of this shape."""
    print(f"{shape.segments:,} segments, {shape.segments_per_day:,} per day", flush=True)
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        # One process per step, so that a peak belongs to its step.
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            pool.submit(_write, root, shape).result()
            for step in (each for each in STEPS if not only or each.__name__ in {*only, *NEEDED}):
                took, mib, summary = pool.submit(measure_step, step, root).result()
                found[step.__name__] = took, mib
                print(f"{step.__name__:<12} {took:6.1f} s   {mib:6.0f} MiB   {summary}", flush=True)
    return found


def _write(root: Path, shape: CorpusShape) -> None:
    write_corpus(open_lake(root), shape)


def main() -> int:
    """Print the table of each size and the slopes; return non-zero where a step exceeds a bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segments", type=int, nargs="*", default=[20_000, 100_000])
    parser.add_argument(
        "--segments-per-day", type=int, default=1_500, help="1,500 for a classroom, a million for an app"
    )
    parser.add_argument("--only", action="append", default=[], help="a step; with those that it needs")
    chosen = parser.parse_args()
    sizes = sorted(chosen.segments)
    found = {
        size: measure_size(
            CorpusShape(size, chosen.segments_per_day, transcribed_share=1 / 3, twice_transcribed_share=0.2),
            chosen.only,
        )
        for size in sizes
    }
    first, last = sizes[0], sizes[-1]
    bound_s = BOUND_S * max(1.0, last / 1e6)
    missed = [
        step
        for step, (took, mib) in found[last].items()
        if (step not in UNBOUNDED and took > bound_s) or mib > BOUND_MIB
    ]
    if first != last:
        for step, (took, mib) in found[last].items():
            before = found[first][step]
            slope = compute_slope((first, last), (before[0], took), FLOOR_S)
            of_memory = compute_slope((first, last), (before[1], mib))
            print(f"{step:<12} slope of time {slope:5.2f}, of memory {of_memory:5.2f}")
            missed += [step] if slope > MAX_SLOPE else []
    print(f"above a bound: {', '.join(missed)}" if missed else "all steps are within their bounds")
    return 1 if missed else 0


STEPS = (import_only, text, backfill, tick, splits, splits_again, queue, agreement, violations, quality, report)
NEEDED = ("text", "backfill", "splits")
UNBOUNDED = ("text", "backfill")


if __name__ == "__main__":
    sys.exit(main())
