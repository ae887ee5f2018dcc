"""Ticks of the sensors without news: their time against `find` over the same recordings, in turn, and their memory.

The folders are real: each session has a few segments, metadata.json and the stream of the browser. Every other one has
a ground_truth.json and a correction. A table and a project in Label Studio have events on further days. The lake is a
folder; the sensors run in one process, as in the code server. The bound of each tick is twice `find`, by medians of the
ratios of each round. The time of Label Studio includes its requests to a server on this host.

With `--s3`, the lake is in a bucket of a test server (moto), and the requests of each tick are counted instead: at most
ten for each thousand days.

With `--withheld`, part of every session waits for the consents of a class of thirty.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from habla_ml.annotation.source import SourceContext
from habla_ml.annotation.sources import SOURCES
from habla_ml.corpus.build import find_outdated_days
from habla_ml.corpus.hours import corpus_hours
from habla_ml.lake import Lake, Store, catalogue
from habla_ml.lake.factory import open_lake, open_store
from habla_ml.lake.pointers import PointerCache, read_snapshot
from habla_ml.monitoring.stopped_loop import examine_loop
from habla_ml.recordings.change_detection import find_changed_days
from habla_ml.recordings.skipped_sessions import summarise_wrong_dates
from habla_ml.settings import Settings
from habla_ml.training.plan import list_evaluated_trainings
from habla_ml_tests.testing.label_studio_api import LOGIN, serve_label_studio
from habla_ml_tests.testing.quiet_days import QuietDays, make_quiet_settings, write_quiet_days

MOST_FIND = 2.0
MOST_REQUESTS_PER_LISTING = 10
BUCKET = "bench-tick"


def build_ticks(settings: Settings, open_bench_lake: Callable[[], Lake]) -> dict[str, Callable[[], None]]:
    """Return sensor → a tick, which opens the lake and fails if it finds anything."""

    def find_recordings() -> None:
        folder, now = settings.recordings.folder, datetime.now(UTC)
        assert not summarise_wrong_dates(folder, settings, now)
        assert not list(find_changed_days(folder, open_bench_lake(), settings, now))

    def find_annotations(sensor: str) -> None:
        lake = open_bench_lake()
        context = SourceContext(lake, settings, datetime.now(UTC))
        changes = [each.find_changes(context) for each in SOURCES if each.sensor == sensor]
        assert not [error for each in changes for error in each.errors]
        assert not list(find_outdated_days(lake, changes))

    def measure_growth() -> None:
        lake = open_bench_lake()
        assert corpus_hours(lake) == 0.5
        assert list_evaluated_trainings(lake) == []

    def watch_loop() -> None:
        examine_loop(open_bench_lake, settings, datetime.now(UTC))

    return {
        "new_recordings": find_recordings,
        "new_corrections": lambda: find_annotations("new_corrections"),
        "label_studio_corrections": lambda: find_annotations("label_studio_corrections"),
        "corpus_growth": measure_growth,
        "loop_alerts": watch_loop,
    }


def measure_ratios(ticks: dict[str, Callable[[], None]], recordings: Path, rounds: int) -> float:
    """Time `find` and every tick in turn, print medians and spread; return the largest median ratio."""
    seconds: dict[str, list[float]] = {name: [] for name in ("find", *ticks)}
    processor: dict[str, list[float]] = {name: [] for name in ticks}
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run(["find", str(recordings)], check=True, stdout=subprocess.DEVNULL)
        seconds["find"].append(time.perf_counter() - started)
        for name, tick in ticks.items():
            started, started_cpu = time.perf_counter(), time.process_time()
            tick()
            seconds[name].append(time.perf_counter() - started)
            processor[name].append(time.process_time() - started_cpu)
    print(f"{'find':25}  {statistics.median(seconds['find']):.3f} s")
    largest = 0.0
    for name in ticks:
        ratios = [tick_s / find_s for tick_s, find_s in zip(seconds[name], seconds["find"], strict=True)]
        largest = max(largest, statistics.median(ratios))
        print(
            f"{name:25}  {statistics.median(seconds[name]):.3f} s, processor {statistics.median(processor[name]):.3f} s   "
            f"{statistics.median(ratios):.2f} of find ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    print(f"bound: {MOST_FIND:g} of find")
    return largest


def measure_cache(store: Store) -> None:
    """Print the memory of the pointers that a process keeps between ticks."""
    cache, families = PointerCache(), (catalogue.RECORDINGS, catalogue.ANNOTATIONS, catalogue.CORPUS)
    tracemalloc.start()
    count = sum(len(read_snapshot(store, cache, family.prefix).found) for family in families)
    memory_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{count} pointers of {cache.size_bytes / 1e6:.1f} MB take {memory_bytes / 1e6:.1f} MB of memory")


def count_requests(ticks: dict[str, Callable[[], None]], requests: dict[str, int], days: int) -> float:
    """Print the requests of each tick that follows another one; return the largest number for each thousand days."""
    for tick in ticks.values():
        tick()
    largest = 0.0
    for name, tick in ticks.items():
        requests.clear()
        started = time.perf_counter()
        tick()
        largest = max(largest, sum(requests.values()) / max(1, -(-days // 1000)))
        print(f"{name:25}  {dict(requests)}   {time.perf_counter() - started:.3f} s")
    print(f"bound: {MOST_REQUESTS_PER_LISTING} requests for each thousand days")
    return largest


def run_on_folder(root: Path, amount: QuietDays, rounds: int) -> int:
    """Measure time and memory; return non-zero above the bound."""
    with serve_label_studio() as api:
        settings = make_quiet_settings(root, {"url": "lake"}, api.url)

        def open_bench_lake() -> Lake:
            return open_lake(settings.lake, settings.work_folder / "cache")

        write_quiet_days(open_bench_lake(), settings, api, amount)
        time.sleep(1.5)  # a file that has just changed is not cached
        measure_cache(open_store(settings.lake))
        ticks = build_ticks(settings, open_bench_lake)
        for tick in ticks.values():
            tick()
        return int(measure_ratios(ticks, settings.recordings.folder, rounds) > MOST_FIND)


def run_on_s3(root: Path, amount: QuietDays, days: int) -> int:
    """Count requests; return non-zero above the bound."""
    from habla_ml_tests.testing import s3_clients

    command = [sys.executable, "-m", "habla_ml_tests.testing.faulty_s3_server"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
        serve_label_studio() as api,
    ):
        assert server.stdout is not None
        endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
        client = s3_clients.new_client(endpoint)
        client.create_bucket(Bucket=BUCKET)
        settings = make_quiet_settings(root, {"url": f"s3://{BUCKET}/lake", "endpoint_url": endpoint}, api.url)

        def open_bench_lake() -> Lake:
            return open_lake(settings.lake, settings.work_folder / "cache", client)

        write_quiet_days(open_bench_lake(), settings, api, amount)
        ticks = build_ticks(settings, open_bench_lake)
        return int(count_requests(ticks, s3_clients.count_requests(client), days) > MOST_REQUESTS_PER_LISTING)


def main() -> int:
    """Measure and print; return non-zero above the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--segments", type=int, default=3, help="segments per session; Habla has about 300")
    parser.add_argument("--imported-days", type=int, default=1_000, help="days with events of a table and Label Studio")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--withheld", action="store_true", help="every session waits for consents")
    parser.add_argument("--s3", action="store_true", help="count the requests to S3")
    chosen = parser.parse_args()
    os.environ["LABEL_STUDIO_TOKEN"] = LOGIN
    amount = QuietDays(chosen.sessions, chosen.segments, chosen.imported_days, chosen.withheld)
    days = amount.days
    print(
        f"{chosen.sessions} sessions of {chosen.segments} segments; {days} days, {chosen.imported_days} of them imported"
    )
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.s3:
            return run_on_s3(Path(scratch), amount, days)
        return run_on_folder(Path(scratch), amount, chosen.rounds)


if __name__ == "__main__":
    sys.exit(main())
