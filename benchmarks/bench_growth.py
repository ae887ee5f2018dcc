"""A tick of the growth sensor with 10,000 and 1,000,000 segments, against summing the rows.

The bound is one second. A tick reads one pointer per day of recording, for any number of segments.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from synthetic_corpus import CONVENTIONS_FOLDER, CorpusShape, open_lake, settings_of, write_corpus

from habla_ml.corpus.build import build_day, load_corpus_day
from habla_ml.corpus.conventions import load_conventions
from habla_ml.corpus.hours import corpus_hours

DAYS = 100


def time_tick(segments: int) -> tuple[float, float]:
    """Return the seconds of our tick and of summing the durations of usable rows, over `DAYS` days."""
    conventions = load_conventions(CONVENTIONS_FOLDER / "orthographic-v1.yaml")
    with tempfile.TemporaryDirectory() as scratch:
        lake, settings = open_lake(Path(scratch)), settings_of(Path(scratch))
        days = write_corpus(lake, CorpusShape(segments, segments // DAYS))
        for day in days:
            build_day(lake, day, conventions, settings)
        started = time.perf_counter()
        hours = corpus_hours(lake)
        ours = time.perf_counter() - started
        started = time.perf_counter()
        total = 0.0
        for name in days:
            day_of_corpus = load_corpus_day(lake, name)
            data = lake.get_bytes(day_of_corpus.parquet) if day_of_corpus else b""
            rows = pq.ParquetFile(pa.BufferReader(data)).read(["duration_s", "problem"])
            total += pc.sum(rows.filter(pc.is_null(rows["problem"]))["duration_s"]).as_py()
        peer = time.perf_counter() - started
    if abs(hours - total / 3600) > 1e-6:
        raise SystemExit(f"{hours} h from pointers, {total / 3600} h from rows")
    return ours, peer


def main(sizes: list[int]) -> int:
    """Print both times at each size; return non-zero above the bound."""
    found = {size: time_tick(size) for size in sizes}
    for size, (ours, peer) in found.items():
        print(f"{size:>9} segments  ours {ours:.4f} s   rows {peer:.4f} s   ratio {ours / peer:.2f}")
    return int(max(ours for ours, _ in found.values()) > 1)


if __name__ == "__main__":
    sys.exit(main([int(each) for each in sys.argv[1:]] or [10_000, 1_000_000]))
