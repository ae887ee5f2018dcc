"""Backfilling changed conventions: our days of text beside `datasets.map` over a dataset that carries its audio.

    bench_conventions.py [SEGMENTS] [--processes N] [--peer-segments N] [--conventions FILE]

Writes a corpus of facts and events without audio, 1,500 segments a day, builds every day under orthographic-v1, then
times the backfill under FILE: read events and facts, apply, write the day, move its pointer, all durable. The peer
applies the same conventions to the same texts with `Dataset.map`, row by row and in batches that are given the text
only; beside each text stand bytes of the size of three seconds of FLAC, which `map` copies into its new file.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import multiprocessing
import resource
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from habla_ml.annotation.events import SCHEMA as EVENTS
from habla_ml.annotation.log import annotations_pointer
from habla_ml.corpus.build import build_day, load_corpus
from habla_ml.corpus.conventions import Conventions, load_conventions
from habla_ml.demo.grammar import Register, sentence
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.recordings import recordings_pointer
from habla_ml.recordings.segments import FACTS_SCHEMA
from habla_ml.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "configs" / "conventions"
A_DAY = 1_500
AUDIO_BYTES = 50_000
QUIRKS = ("{}...", "Eh, {}", "{} [noise]", "[risas] {}", "«{}»", "{}  ¿no ?", "{} 3", "  {}", "{}\u200b", "¿¿{}??")


def texts(count: int, rng: np.random.Generator) -> list[str]:
    """Sentences of the demo's grammar, one in five with something that conventions are about."""
    pool = [sentence(list(Register)[number % 2], rng) for number in range(20_000)]
    made = []
    for one, other, quirk in zip(
        *(rng.integers(len(pool), size=(2, count))), rng.integers(50, size=count), strict=True
    ):
        text = f"{pool[one]} {pool[other]}" if quirk % 2 else pool[one]
        made.append(QUIRKS[quirk].format(text) if quirk < len(QUIRKS) else text)
    return made


def write_corpus(lake: Lake, segments: int) -> list[str]:
    """Publish facts and events of `segments` segments; returns the days."""
    rng, days = np.random.default_rng(20260216), []
    for start in range(0, segments, A_DAY):
        day = (date(2026, 1, 1) + timedelta(days=len(days))).isoformat()
        write_day(lake, day, texts(min(A_DAY, segments - start), rng), rng)
        days.append(day)
    return days


def write_day(lake: Lake, day: str, typed: list[str], rng: np.random.Generator) -> None:
    """One day: facts in the order of the sessions, events in the order of segment ids."""
    count = len(typed)
    ids = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in typed]
    sessions = [f"{number // 300:05d}_{day.replace('-', '')}_090000" for number in range(count)]
    facts: dict[str, Any] = {field.name: [None] * count for field in FACTS_SCHEMA}
    facts |= {
        "segment_id": ids,
        "source": ["habla"] * count,
        "session_id": sessions,
        "day": [day] * count,
        "file_name": [f"segment_{number % 300 + 1:03d}.wav" for number in range(count)],
        "number": [number % 300 + 1 for number in range(count)],
        "audio_sha256": [hashlib.sha256(each.encode()).hexdigest() for each in ids],
        "duration_s": rng.uniform(2, 4, count),
        "speaker": ["Speaker A"] * count,
        "machine_text": typed,
        **{name: rng.uniform(-40, -20, count) for name in ("loudness_dbfs", "peak_dbfs")},
        "clipped_share": [0.0] * count,
    }
    empty = [""] * count
    said: dict[str, Any] = {
        "event_id": [hashlib.sha256(each.encode()).hexdigest() for each in ids],
        **{name: facts[name] for name in ("segment_id", "session_id", "day")},
        **{"text": typed, "status": ["corrected"] * count, "source": ["habla"] * count},
        "created_at": [datetime(2026, 3, 1, tzinfo=UTC)] * count,
        "seen_text": [None] * count,
    }
    events = pa.table(
        {each.name: pa.array(said.get(each.name, empty), each.type) for each in EVENTS}, schema=EVENTS
    )
    facts_id = put_table(lake, pa.table(facts, schema=FACTS_SCHEMA))
    recordings = {"parquet": "0" * 64, "facts": facts_id, "inputs": {}, "set_aside": lake.put_json([])}
    totals = {
        "segments": count,
        "sessions": len(set(sessions)),
        "hours": float(np.sum(facts["duration_s"])) / 3600,
    }
    lake.move_pointer(recordings_pointer(day), {**recordings, **totals}, None)
    annotations = {"parquet": put_table(lake, events.sort_by("segment_id")), "inputs": {}, "events": count}
    lake.move_pointer(annotations_pointer(day), {**annotations, "set_aside": lake.put_json([])}, None)


def put_table(lake: Lake, table: pa.Table) -> str:
    """Publish a table as parquet."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return lake.put_bytes(out.getvalue())


def backfill(root: Path, days: list[str], conventions: Path, processes: int) -> float:
    """Seconds for all days, dealt out to processes as concurrent runs of a backfill are."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_text, [root] * processes, [[]] * processes, [conventions] * processes))  # imports
        started = time.perf_counter()
        shares = [days[first::processes] for first in range(processes)]
        list(pool.map(write_text, [root] * processes, shares, [conventions] * processes))
        return time.perf_counter() - started


def write_text(root: Path, days: list[str], conventions: Path) -> None:
    """Build the days, in a process of a backfill."""
    lake, rules, settings = open_lake(root), load_conventions(conventions), profile(root)
    for day in days:
        build_day(lake, day, rules, settings)


def open_lake(root: Path) -> Lake:
    """The generated lake."""
    return Lake(DirectoryStore(root / "lake"), root / "cache")


def peer(segments: int, processes: int, conventions: Conventions, scratch: Path) -> Iterator[tuple[str, float]]:
    """Seconds of `Dataset.map` over texts beside audio bytes, after the dataset was written to disk."""
    import datasets

    datasets.disable_progress_bars()
    audio, typed = np.random.default_rng(1), texts(segments, np.random.default_rng(20260216))

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
    """Print both and their ratio; non-zero where a million segments would take a minute or more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segments", type=int, nargs="?", default=100_000)
    parser.add_argument("--peer-segments", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--conventions", type=Path, default=RULES / "orthographic-v3.yaml")
    chosen = parser.parse_args()
    conventions = load_conventions(chosen.conventions)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        lake = open_lake(root)
        days = write_corpus(lake, chosen.segments)
        first = backfill(root, days, RULES / "orthographic-v1.yaml", chosen.processes)
        took = backfill(root, days, chosen.conventions, chosen.processes)
        flagged = sum(
            sum(found.violations.values()) for found in (load_corpus(lake, day) for day in days) if found
        )
        ours = chosen.segments / took
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{chosen.segments:,} segments in {len(days)} days; {conventions.title}, {flagged:,} violations")
        print(f"first build   {first:6.1f} s   {chosen.segments / first:10,.0f} segments/s")
        print(f"ours          {took:6.1f} s   {ours:10,.0f} segments/s   ({chosen.processes} processes)")
        print(f"both together took {spent.ru_utime + spent.ru_stime:.1f} s of processor; ", end="")
        print(f"peak memory of one process {spent.ru_maxrss / 1024:.0f} MiB")
        for name, seconds in peer(chosen.peer_segments, chosen.processes, conventions, root):
            rate = chosen.peer_segments / seconds
            print(
                f"datasets.map  {seconds:6.1f} s   {rate:10,.0f} segments/s   ({name}, {chosen.peer_segments:,} rows)"
            )
            print(f"ratio         {ours / rate:6.1f}   (segments per second, ours by theirs)")
    return int(1_000_000 / ours >= 60)


def profile(root: Path) -> Settings:
    """Settings that name nothing but the lake."""
    tree = {
        "profile": "bench",
        "work_folder": str(root / "work"),
        "lake": {"url": str(root / "lake")},
        "recordings": {"folder": str(root)},
        "corpus": {"conventions": str(RULES / "orthographic-v1.yaml")},
        "training": {"recipe": str(ROOT / "configs" / "recipes" / "demo-full.yaml")},
        "release": {"store": {"url": str(root / "cdn")}},
    }
    return Settings.model_validate(tree)


if __name__ == "__main__":
    sys.exit(main())
