"""Backfill of changed conventions: our days of text against `datasets.map` over a dataset with audio.

    bench_conventions.py [SEGMENTS] [--processes N] [--peer-segments N] [--conventions FILE]

Writes a corpus of segment metadata and events without audio, 1,500 segments per day, and builds every day under
orthographic-v1. Then it times the backfill under FILE: read events and metadata, apply, write the day, move its
pointer, all durable. The peer applies the same conventions to the same texts with `Dataset.map`, row by row and in
batches of text only. Each row also has as many bytes as three seconds of FLAC, which `map` copies.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from synthetic_corpus import CONVENTIONS_FOLDER, CorpusShape, generate_texts, open_lake, settings_of, write_corpus

from habla_ml.corpus.build import build_day, load_corpus_day
from habla_ml.corpus.conventions import Conventions, load_conventions

AUDIO_BYTES = 50_000


def time_backfill(root: Path, days: list[str], conventions: Path, processes: int) -> float:
    """Return the seconds for all days, distributed over processes like concurrent runs of a backfill."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(build_days, [root] * processes, [[]] * processes, [conventions] * processes))  # imports
        started = time.perf_counter()
        shares = [days[first::processes] for first in range(processes)]
        list(pool.map(build_days, [root] * processes, shares, [conventions] * processes))
        return time.perf_counter() - started


def build_days(root: Path, days: list[str], conventions: Path) -> None:
    """Build days in one process of a backfill."""
    lake, rules, settings = open_lake(root), load_conventions(conventions), settings_of(root)
    for day in days:
        build_day(lake, day, rules, settings)


def time_datasets_map(
    segments: int, processes: int, conventions: Conventions, scratch: Path
) -> Iterator[tuple[str, float]]:
    """Yield the seconds of `Dataset.map` over rows of text and audio, after the dataset is on disk."""
    import datasets

    datasets.disable_progress_bars()
    audio, typed = np.random.default_rng(1), generate_texts(segments, np.random.default_rng(20260216))

    def rows() -> Iterator[dict[str, Any]]:
        for text in typed:
            yield {"audio": {"bytes": audio.bytes(AUDIO_BYTES), "path": None}, "text": text}

    kinds = datasets.Features(
        {
            "audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            "text": datasets.Value("string"),
        }
    )
    made = datasets.Dataset.from_generator(rows, features=kinds, cache_dir=str(scratch / "made"))

    def one(row: dict[str, Any]) -> dict[str, Any]:
        reading = conventions.read(row["text"])
        return {"sentence": reading.sentence, "problem": reading.problem, "violations": list(reading.violations)}

    def many(batch: list[str]) -> dict[str, Any]:
        readings = [conventions.read(text) for text in batch]
        return {
            "sentence": [each.sentence for each in readings],
            "problem": [each.problem for each in readings],
            "violations": [list(each.violations) for each in readings],
        }

    added = {"sentence": datasets.Value("string"), "problem": datasets.Value("string")}
    features = datasets.Features({**kinds, **added, "violations": datasets.List(datasets.Value("string"))})
    for name, options in (
        ("row by row", {"function": one, "num_proc": processes}),
        (
            "batched, text only",
            {"function": many, "batched": True, "input_columns": ["text"], "num_proc": processes},
        ),
    ):
        started = time.perf_counter()
        made.map(
            features=features, load_from_cache_file=False, cache_file_name=str(scratch / "mapped.arrow"), **options
        )
        yield name, time.perf_counter() - started


def main() -> int:
    """Print both and their ratio; return non-zero where a million segments would take a minute or more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segments", type=int, nargs="?", default=100_000)
    parser.add_argument("--peer-segments", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--conventions", type=Path, default=CONVENTIONS_FOLDER / "orthographic-v4.yaml")
    chosen = parser.parse_args()
    conventions = load_conventions(chosen.conventions)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        lake = open_lake(root)
        days = write_corpus(lake, CorpusShape(chosen.segments))
        first = time_backfill(root, days, CONVENTIONS_FOLDER / "orthographic-v1.yaml", chosen.processes)
        took = time_backfill(root, days, chosen.conventions, chosen.processes)
        flagged = sum(sum(found.violations.values()) for found in (load_corpus_day(lake, day) for day in days) if found)
        ours = chosen.segments / took
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{chosen.segments:,} segments in {len(days)} days; {conventions.title}, {flagged:,} violations")
        print(f"first build   {first:6.1f} s   {chosen.segments / first:10,.0f} segments/s")
        print(f"ours          {took:6.1f} s   {ours:10,.0f} segments/s   ({chosen.processes} processes)")
        print(f"CPU time of both {spent.ru_utime + spent.ru_stime:.1f} s; ", end="")
        print(f"peak memory of one process {spent.ru_maxrss / 1024:.0f} MiB")
        for name, seconds in time_datasets_map(chosen.peer_segments, chosen.processes, conventions, root):
            rate = chosen.peer_segments / seconds
            print(
                f"datasets.map  {seconds:6.1f} s   {rate:10,.0f} segments/s   ({name}, {chosen.peer_segments:,} rows)"
            )
            print(f"ratio         {ours / rate:6.1f}   (segments per second, ours by theirs)")
    return int(1_000_000 / ours >= 60)


if __name__ == "__main__":
    sys.exit(main())
