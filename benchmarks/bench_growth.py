"""The growth sensor's question with 10,000 and 1,000,000 segments in the lake, beside counting the rows themselves.

The bound is one second. What is read is one pointer a day of recording, however many segments a day has.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from habla_ml.corpus.build import load_corpus
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.growth import corpus_hours
from habla_ml_tests.corpus.corpora import Line, new_lake, write_day
from habla_ml_tests.recordings.world import V1

DAYS = 100


def seconds(segments: int) -> tuple[float, float]:
    """Seconds of our tick, and of summing the durations of every row, over `DAYS` days."""
    conventions = load_conventions(V1)
    with tempfile.TemporaryDirectory() as scratch:
        lake = new_lake(Path(scratch))
        days = [f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}" for day in range(DAYS)]
        for day in days:
            lines = [Line(f"{day}_{n // 300}", n, seconds=3.0) for n in range(segments // DAYS)]
            write_day(lake, day, lines, conventions)
        started = time.perf_counter()
        hours = corpus_hours(lake)
        ours = time.perf_counter() - started
        started = time.perf_counter()
        total = 0.0
        for name in days:
            day_of_corpus = load_corpus(lake, name)
            data = lake.get_bytes(day_of_corpus.parquet) if day_of_corpus else b""
            total += pc.sum(pq.read_table(io.BytesIO(data), columns=["duration_s"])["duration_s"]).as_py()
        peer = time.perf_counter() - started
    if abs(hours - total / 3600) > 1e-6:
        raise SystemExit(f"{hours} h by the pointers, {total / 3600} h by the rows")
    return ours, peer


def main(sizes: list[int]) -> int:
    """Print both times at each size; non-zero above the bound."""
    found = {size: seconds(size) for size in sizes}
    for size, (ours, peer) in found.items():
        print(f"{size:>9} segments  ours {ours:.4f} s   rows {peer:.4f} s   ratio {ours / peer:.2f}")
    return int(max(ours for ours, _ in found.values()) > 1)


if __name__ == "__main__":
    sys.exit(main([int(each) for each in sys.argv[1:]] or [10_000, 1_000_000]))
