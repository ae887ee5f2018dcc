"""Clips and hours of speech per second that 1, 4 and 16 readers get from a lake in a folder and on an S3 server.

    python benchmarks/bench_loader.py [--clips 2000] [--readers 1 4 16]

Synthetic clips of lognormal duration (mean 3.4 s) in tables of one day each, as the pipeline writes them. Each reader is a
process with its share of one random order, as a rank or a loader has. `cold` begins without a cache and `warm` has it. The
S3 server is the one of the tests, with real HTTP on this machine.

The peer is Hugging Face `datasets` on the same parquet: `load_dataset` copies it to Arrow files (cold), and each access
decodes the FLAC of a clip with the same library.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from habla_ml.audio import SAMPLE_RATE, decode_flac, dequantise, encode_flac, pcm_sha256, quantise
from habla_ml.corpus.snapshot import StoredUtterance
from habla_ml.lake import DirectoryStore, Lake, S3Store
from habla_ml.recordings.segments import ROW_GROUP_SIZE
from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.clips import ClipStore, open_clips, write_clips
from habla_ml.training.model_folder import load_tokenizer
from habla_ml.training.recipe import Recipe
from habla_ml.training.targets import TargetEncoder
from habla_ml_tests.testing.s3_clients import BUCKET, new_client, serve_s3

_CLIPS_A_DAY = 500
_MEAN_S, _SIGMA = 3.4, 0.6

Days = list[tuple[Path, list[tuple[str, float]]]]
"""Each table, with sha256 and duration of its rows."""


@dataclass(frozen=True)
class LoaderSpeed:
    """What a number of readers took for all clips."""

    name: str
    readers: int
    clips: int
    speech_h: float
    wall_s: float
    cpu_s: float
    peak_mb: float
    """Largest memory of one reader."""

    def __str__(self) -> str:
        """Return a row of the table."""
        return (
            f"| {self.name} | {self.readers} | {self.clips / self.wall_s:,.0f} | {self.speech_h / self.wall_s:.2f} | "
            f"{self.wall_s:.1f} | {1000 * self.cpu_s / self.clips:.2f} | {self.peak_mb:.0f} |"
        )


def write_days(folder: Path, n_clips: int) -> Days:
    """Write tables of clips; return each with sha256 and duration of its rows."""
    rng = np.random.default_rng(0)
    days = []
    for first in range(0, n_clips, _CLIPS_A_DAY):
        rows, flacs = [], []
        for _ in range(min(_CLIPS_A_DAY, n_clips - first)):
            n_samples = round(
                float(np.clip(rng.lognormal(np.log(_MEAN_S) - _SIGMA**2 / 2, _SIGMA), 0.4, 30)) * SAMPLE_RATE
            )
            # Speech-like for a codec: a few slowly varying tones with pauses, and some noise.
            time_s = np.arange(n_samples) / SAMPLE_RATE
            tones = sum(
                np.sin(2 * np.pi * hz * time_s + rng.uniform(0, 6)) / (1 + n) for n, hz in enumerate((140, 420, 1300))
            )
            audio = (0.1 * tones * np.abs(np.sin(5 * time_s)) + 0.003 * rng.standard_normal(n_samples)).astype(
                np.float32
            )
            rows.append((pcm_sha256(audio), n_samples / SAMPLE_RATE))
            flacs.append(encode_flac(audio))
        path = folder / f"day-{len(days):03}.parquet"
        ids = [f"{len(days):03}-{at:04}" for at in range(len(rows))]
        table = pa.table({"segment_id": ids, "audio": flacs})
        pq.write_table(
            table, path, row_group_size=ROW_GROUP_SIZE, compression="none", use_dictionary=False, write_statistics=False
        )
        days.append((path, rows))
    return days


def write_index(lake: Lake, days: Days, folder: Path) -> None:
    """Store the tables in the lake, and write the index of their clips to `folder`."""
    base = resolve_base_model(Recipe(name="x", base_model="package:demo/base_model", learning_rate=1e-4, max_steps=1))
    utterances = [
        StoredUtterance(
            segment_id=f"{day}-{at}",
            session_id=str(day),
            speaker=None,  # type: ignore[arg-type]
            sentence="abrid los libros",
            duration_s=duration_s,
            loudness_dbfs=-20.0,
            audio_sha256=sha256,
            parquet=name,
            row_group=at // ROW_GROUP_SIZE,
            row=at % ROW_GROUP_SIZE,
        )
        for day, (path, rows) in enumerate(days)
        for name in [lake.put_file(path)]
        for at, (sha256, duration_s) in enumerate(rows)
    ]
    write_clips(utterances, TargetEncoder(load_tokenizer(base)), folder, lake=lake)


def measure(
    name: str, readers: int, lengths_s: np.ndarray, open_reader: Callable[[], Callable[[int], Any]]
) -> LoaderSpeed:
    """Read every clip once, in random order, by several processes."""
    order = np.random.default_rng(1).permutation(len(lengths_s)).tolist()
    context = multiprocessing.get_context("fork")
    answers: Any = context.Queue()

    def read(share: list[int]) -> None:
        begun_s = time.process_time()
        read_clip = open_reader()
        for clip in share:
            read_clip(clip)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answers.put((time.process_time() - begun_s, peak_mb))

    processes = [context.Process(target=read, args=(order[rank::readers],)) for rank in range(readers)]
    started = time.monotonic()
    for each in processes:
        each.start()
    found = [answers.get() for _ in processes]
    wall_s = time.monotonic() - started
    for each in processes:
        each.join()
    cpu_s, peak_mb = sum(each for each, _ in found), max(each for _, each in found)
    return LoaderSpeed(name, readers, len(order), float(lengths_s.sum()) / 3600, wall_s, cpu_s, peak_mb)


def measure_ours(place: str, open_lake: Callable[[], Lake], index: Path, cache: Path, readers: int) -> None:
    """Print the rows of a place, cold and warm."""
    lengths_s = open_clips(index).durations_s

    def open_reader() -> Callable[[int], Any]:
        clips: ClipStore = open_clips(index, open_lake())
        return clips.audio

    shutil.rmtree(cache, ignore_errors=True)
    for state in ("cold", "warm"):
        print(measure(f"shards, {place}, {state}", readers, lengths_s, open_reader), flush=True)


def measure_one_file(days: Days, index: Path, folder: Path, readers: int) -> None:
    """Print the rows of the earlier way: one process decodes all clips to one memory-mapped file."""
    lengths_s = open_clips(index).durations_s
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    with folder.open("wb") as file:
        for path, _ in days:
            for batch in pq.ParquetFile(path).iter_batches(batch_size=ROW_GROUP_SIZE, columns=["audio"]):
                for flac in batch["audio"].to_pylist():
                    file.write(quantise(decode_flac(flac)).tobytes())
    starts = np.concatenate([[0], np.cumsum(np.rint(lengths_s * SAMPLE_RATE).astype(np.int64))])

    def open_reader() -> Callable[[int], Any]:
        samples = np.memmap(folder, "<i2", "r")
        return lambda clip: dequantise(samples[starts[clip] : starts[clip + 1]])

    ended_s, ended_cpu_s = time.monotonic() - begun_s, time.process_time() - begun_cpu_s
    warm = measure("one file, folder, warm", readers, lengths_s, open_reader)
    cold = replace(warm, name="one file, folder, cold", wall_s=warm.wall_s + ended_s, cpu_s=warm.cpu_s + ended_cpu_s)
    print(cold, warm, sep="\n", flush=True)


def measure_datasets(place: str, files: list[str], index: Path, folder: Path, readers: int) -> None:
    """Print the rows of the peer."""
    from datasets import load_dataset

    lengths_s = open_clips(index).durations_s
    shutil.rmtree(folder, ignore_errors=True)

    def open_reader() -> Callable[[int], Any]:
        rows = load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder))
        return lambda clip: decode_flac(rows[clip]["audio"])

    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    open_reader()
    ended_s, ended_cpu_s = time.monotonic() - begun_s, time.process_time() - begun_cpu_s
    warm = measure(f"datasets, {place}, warm", readers, lengths_s, open_reader)
    name = f"datasets, {place}, cold"
    cold = replace(warm, name=name, wall_s=warm.wall_s + ended_s, cpu_s=warm.cpu_s + ended_cpu_s)
    print(cold, warm, sep="\n", flush=True)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--readers", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args()
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    with tempfile.TemporaryDirectory() as root, serve_s3() as endpoint:
        folder = Path(root)
        days = write_days(folder, options.clips)
        places: dict[str, Callable[[], Lake]] = {
            "folder": lambda: Lake(DirectoryStore(folder / "lake"), folder / "cache"),
            "S3": lambda: Lake(S3Store(new_client(endpoint), BUCKET, "bench"), folder / "cache"),
        }
        for name, open_lake in places.items():
            write_index(open_lake(), days, folder / f"index-{name}")
        size_mb = sum(path.stat().st_size for path, _ in days) / 1e6
        load = os.getloadavg()[0]
        print(
            f"{options.clips} clips, {size_mb:.0f} MB of FLAC; {os.cpu_count()} cores, load {load:.1f} at the start\n"
        )
        print("| reader | processes | clips/s | hours of speech/s | wall s | CPU ms per clip | peak MB |")
        print("|---|---|---|---|---|---|---|")
        for readers in options.readers:
            for name, open_lake in places.items():
                measure_ours(name, open_lake, folder / f"index-{name}", folder / "cache", readers)
            files = [str(path) for path, _ in days]
            measure_one_file(days, folder / "index-folder", folder / "samples", readers)
            measure_datasets("folder", files, folder / "index-folder", folder / "datasets", readers)


if __name__ == "__main__":
    main()
