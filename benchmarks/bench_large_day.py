"""A day of a million clips, received hour by hour: what each hour writes, and how long it takes.

Segments have generated metadata and `--audio-bytes` of noise in place of 30 KB of FLAC, and the bounds of the shards are
smaller by the same factor, so the number of shards is that of a real day. A third of the sessions of an hour go on in the
next one. The bound: the last hour writes at most 1.5 times as many bytes as the second one. For comparison, a day of one
object writes all rows again in each hour.

    python benchmarks/bench_large_day.py --segments 1000000
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from synthetic_corpus import make_segment

from habla_ml.lake import DirectoryStore, Lake
from habla_ml.lake.shards import load_shards
from habla_ml.recordings.day_tables import SHARD_SIZES, DayTables, ShardSizes, write_day
from habla_ml.recordings.segments import RecordedSegment

REAL_AUDIO_BYTES = 30_000
SESSION_SEGMENTS = 12
MOST_GROWTH = 1.5
HOURS = 24


def generate_hour(hour: int, sessions: int, audio_bytes: int) -> Iterator[RecordedSegment]:
    """Yield the segments of an hour, sorted by session; a third of the sessions began in the hour before."""
    rng = np.random.default_rng(hour)
    going_on = [f"{hour - 1:02d}-{number:06d}" for number in range(0, sessions, 3)] if hour else []
    names = sorted([*going_on, *(f"{hour:02d}-{number:06d}" for number in range(sessions - len(going_on)))])
    for name in names:
        first = 0 if name.startswith(f"{hour:02d}") else SESSION_SEGMENTS
        for number in range(first, first + SESSION_SEGMENTS):
            audio = rng.bytes(audio_bytes)
            yield make_segment("uploads", name, "2026-02-16", number, "student-1", audio)


def measure(folder: Path, segments: int, audio_bytes: int, sizes: ShardSizes) -> list[tuple[int, float, int, int]]:
    """Return segments of the day, seconds, bytes written and shards after each hour."""
    lake, tables = Lake(DirectoryStore(folder / "lake"), folder / "cache"), None
    stored: set[str] = set()
    found = []
    for hour in range(HOURS):
        scratch = folder / "scratch"
        scratch.mkdir(exist_ok=True)
        start_s = time.process_time()
        fresh = generate_hour(hour, segments // HOURS // SESSION_SEGMENTS, audio_bytes)
        tables, totals = write_day(lake, tables, fresh, (), scratch, sizes)
        passed_s = time.process_time() - start_s
        objects = {each.sha256: each.size_bytes for each in lake.list_objects()}
        written = sum(size for name, size in objects.items() if name not in stored)
        stored |= objects.keys()
        found.append((totals.segments, passed_s, written, count_shards(lake, tables)))
    return found


def count_shards(lake: Lake, tables: DayTables) -> int:
    """Return the number of shards of a day."""
    return len(load_shards(lake, tables.audio).shards)


def main() -> int:
    """Print both layouts; return non-zero if the bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=240_000)
    parser.add_argument("--audio-bytes", type=int, default=300)
    chosen = parser.parse_args()
    factor = REAL_AUDIO_BYTES / chosen.audio_bytes
    sizes = ShardSizes(round(SHARD_SIZES.small_bytes / factor), round(SHARD_SIZES.largest_bytes / factor))
    layouts = {"shards": sizes, "one object": ShardSizes(sys.maxsize, sys.maxsize)}
    growth = {}
    for name, each in layouts.items():
        with tempfile.TemporaryDirectory() as folder:
            hours = measure(Path(folder), chosen.segments, chosen.audio_bytes, each)
        for hour in (1, HOURS // 2, HOURS - 1):
            total, passed_s, written, shards = hours[hour]
            line = f"{name}, hour {hour + 1}: {passed_s:.1f} CPU s, {written / 1e6:.1f} MB written, {shards} shards"
            print(f"{line}, {total:,} segments")
        growth[name] = hours[-1][2] / hours[1][2]
        all_mb = sum(written for _, _, written, _ in hours) / 1e6
        print(f"{name}: the last hour writes {growth[name]:.2f} times the second one; {all_mb:.0f} MB in all")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return int(growth["shards"] > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
