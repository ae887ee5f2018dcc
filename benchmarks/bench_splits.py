"""Splits at several sizes: seconds, peak memory and scratch space, and how they grow; and one shuffle in pandas.

    bench_splits.py 100000 1000000 [--segments-per-day N] [--segments-per-session N]

The text is generated without audio, in days of up to a million segments. Its fingerprints are empty, so the comparison of
near-duplicates is not measured (`bench_fingerprint.py`). Each snapshot is made in its own process: the first one of a
corpus, and a second one of the same corpus, which must be the same. The bounds are 60 s of CPU time for a million
segments, 2 GiB of memory, and a slope of 1.1. The peer assigns the sessions of the largest corpus, without ledger,
balanced hours and publication.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from growth import compute_slope, read_peak_mib
from synthetic_corpus import CONVENTIONS_FOLDER, open_lake, settings_of
from synthetic_text import TextShape, write_text

from habla_ml.corpus.conventions import Conventions, load_conventions
from habla_ml.corpus.splits import make_snapshot
from habla_ml.scratch import SCRATCH_FOLDER

BOUND_CPU_S = 60.0
BOUND_MIB = 2048.0
MAX_SLOPE = 1.1


@dataclass(frozen=True)
class Measurement:
    """The cost of one snapshot."""

    took_s: float
    cpu_s: float
    peak_mib: float
    scratch_mb: float
    snapshot: str


def measure(root: Path) -> Measurement:
    """Make a snapshot in this process."""
    scratch_bytes, is_done = [0], threading.Event()

    def watch() -> None:
        while not is_done.wait(0.2):
            sizes = [
                path.stat().st_size for path in (settings.work_folder / SCRATCH_FOLDER).rglob("*") if path.is_file()
            ]
            scratch_bytes.append(sum(sizes))

    settings = settings_of(root)
    watcher = threading.Thread(target=watch)
    watcher.start()
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        made = make_snapshot(open_lake(root), settings, _load_conventions())
    finally:
        is_done.set()
        watcher.join()
    took_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    return Measurement(took_s, cpu_s, read_peak_mib(), max(scratch_bytes) / 1e6, made.id)


def measure_size(shape: TextShape) -> Measurement:
    """Print the cost of two snapshots of a corpus; return that of the first one."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            pool.submit(_write, root, shape).result()
            first, second = (pool.submit(measure, root).result() for _ in range(2))
    assert first.snapshot == second.snapshot
    for name, each in (("first", first), ("again", second)):
        print(
            f"{shape.segments:>11,} {name}  {each.took_s:7.1f} s  {each.cpu_s:7.1f} s of CPU time  "
            f"{each.peak_mib:6.0f} MiB  {each.scratch_mb:7.0f} MB of scratch space",
            flush=True,
        )
    return first


def measure_peer(shape: TextShape) -> float:
    """Return the seconds of one shuffle of the sessions in pandas."""
    frame = pd.DataFrame({"session": np.arange(shape.segments) // shape.segments_per_session})
    started = time.perf_counter()
    sessions = frame["session"].drop_duplicates().sample(frac=1, random_state=0).to_numpy()
    tenth = len(sessions) // 10
    frame["split"] = "train"
    frame.loc[frame["session"].isin(sessions[:tenth]), "split"] = "test"
    frame.loc[frame["session"].isin(sessions[tenth : 2 * tenth]), "split"] = "validation"
    return time.perf_counter() - started


def _write(root: Path, shape: TextShape) -> None:
    write_text(open_lake(root), shape, _load_conventions())


def _load_conventions() -> Conventions:
    return load_conventions(CONVENTIONS_FOLDER / "orthographic-v1.yaml")


def main() -> int:
    """Print the table, the slopes and the peer; return non-zero above a bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segments", type=int, nargs="*", default=[100_000, 300_000])
    parser.add_argument("--segments-per-day", type=int, default=1_000_000)
    parser.add_argument("--segments-per-session", type=int, default=300)
    chosen = parser.parse_args()
    shapes = [
        TextShape(size, min(size // 3, chosen.segments_per_day), chosen.segments_per_session)
        for size in sorted(chosen.segments)
    ]
    found = [measure_size(shape) for shape in shapes]
    last = found[-1]
    is_within = last.peak_mib <= BOUND_MIB and last.cpu_s <= BOUND_CPU_S * shapes[-1].segments / 1e6
    if len(found) > 1:
        sizes = shapes[0].segments, shapes[-1].segments
        costs = (found[0].cpu_s, last.cpu_s), (found[0].peak_mib, last.peak_mib)
        slopes = [compute_slope(sizes, each) for each in costs]
        print(f"slope of CPU time {slopes[0]:.2f}, of memory {slopes[1]:.2f}")
        is_within &= max(slopes) <= MAX_SLOPE
    print(f"pandas shuffle of {shapes[-1].segments:,} segments: {measure_peer(shapes[-1]):.2f} s")
    print("within the bounds" if is_within else "above a bound")
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())
